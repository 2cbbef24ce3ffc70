"""Plug-ins of other distributions that are broken, or take our names: nothing of ours stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.strangers import install

Command = Callable[..., subprocess.CompletedProcess[str]]
START = ("-m", "uwt_eval")

GROUPS = (
    *("tasks", "models", "metrics", "extractors", "judges", "commands", "protocols"),
    *("references", "reference_settings", "tables", "presets"),
)
BROKEN = "[uwt_eval.models]\nwebp = number:thing\n" + "".join(
    f"[uwt_eval.{group}]\n"
    f"a-raises-{group} = raises:thing\n"
    f"a-leaves-{group} = leaves:thing\n"
    f"a-panics-{group} = panics:thing\n"
    f"a-missing-{group} = not_there:thing\n"
    f"a-number-{group} = number:thing\n"
    f"a-colons-{group} = :::\n"
    for group in GROUPS
)
MODULES = {
    "raises.py": "print('a word at import')\nraise RuntimeError('broken on import')",
    "leaves.py": "import sys; sys.exit('bye')",
    "panics.py": "raise type('PanicException', (BaseException,), {})('as of Rust')",
    "number.py": "thing = 1",
}


SEVERAL = """
import contextlib, io, json, os, sys
from harness.interfaces import errors
from uwt_eval.main import main

told = []
for line in sys.argv[1:]:
    sys.argv[1:] = json.loads(line)
    errors.warn.cache_clear()
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    told.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(told), flush=True)
os._exit(0)
"""
"""Commands one after the other, in one process: how each ends, and what it says."""


@pytest.fixture
def beside(tmp_path: Path) -> Command:
    """Run `uwt-eval` in a process that has `tmp_path/site` on its path."""

    def run(*arguments: object, code: Sequence[str] = START) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *code, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_entry_points_that_are_none_are_warned_of(tmp_path: Path, beside: Command) -> None:
    bad = install(tmp_path / "site", "malformed", "[uwt_eval.models]\nno equals sign\n", {})
    for arguments in (["list"], ["show", "webp"], ["--help"]):
        told = beside(*arguments)
        assert told.returncode == 0, told.stderr
        assert "Traceback" not in told.stderr
    assert str(bad) in beside("list").stderr


def test_broken_plugins_stop_nothing(tmp_path: Path, photo_folder: Path, beside: Command) -> None:
    install(tmp_path / "site", "broken-plugins", BROKEN, MODULES)
    bad = install(tmp_path / "site", "half", "[uwt_eval.tasks]\nx = x:y\n", {})
    (bad / "half-1.0.dist-info" / "METADATA").unlink()

    listed = beside("list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "imagenet-recon" in json.loads(listed.stdout)["tasks"]
    assert not [name for name in json.loads(listed.stdout)["tasks"] if name.startswith("a-")]
    lines = [line for line in listed.stderr.splitlines() if line != "a word at import"]
    assert len(lines) == len(set(lines))
    assert all(line.startswith("warning: ") for line in lines)
    cause = "'a-raises-tasks' of broken-plugins 1.0 ignored: RuntimeError: broken on import"
    assert f"warning: uwt_eval.tasks {cause}" in lines
    assert "warning: uwt_eval.tasks 'a-leaves-tasks' of broken-plugins 1.0 ignored: " in str(lines)
    assert any(str(bad) in line for line in lines)

    webp = ("-m", "webp", "--metrics", "psnr", "--limit", "1")
    kinds = ("leaves", "panics", "number")
    commands = (
        ("--help",),
        ("show", "table16"),
        ("run", "table8", *webp, "--data", str(photo_folder), "--out", str(tmp_path / "runs")),
        ("run", "imagenet-gen", "-m", "webp", "--dry-run"),
        ("show", "webp"),
        ("run", "a-number-tasks", "-m", "webp", "--dry-run"),
        ("run", "imagenet-recon", "--metrics", "a-number-metrics", "-m", "webp", "--dry-run"),
        *((f"a-{kind}-commands", "--help") for kind in kinds),
    )
    done = beside(*map(json.dumps, commands), code=("-c", SEVERAL))
    assert done.returncode == 0, done.stderr
    helped, table, ran, refused, shown, *wrong = json.loads(done.stdout.splitlines()[-1])
    for code, _, said in (helped, table, ran, shown):
        assert code == 0, said
    assert "a-raises-commands" in helped[1]
    assert refused[0] == 2, refused
    assert (
        "it fits: coco-recon, coco-recon-native, decode, encode, face-recon, imagenet-recon"
        in refused[2]
    )
    for code, _, said in wrong[:2]:
        assert code == 2, said
        assert said.splitlines()[-1].startswith("error: ")
        assert "cannot be imported: TypeError: 1 is no " in said
    for kind, (code, _, said) in zip(kinds, wrong[2:], strict=True):
        assert code == 2, (kind, said)
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert f"command 'a-{kind}-commands' of broken-plugins 1.0" in errors[0]

    findings = json.loads(beside("doctor", "--quick", "--json").stdout)
    texts = [item["text"] for item in findings]
    warned = {item["name"]: item for item in findings if "broken-plugins 1.0" in item["text"]}
    assert any("'webp' of broken-plugins 1.0 (number:thing) is ignored" in text for text in texts)
    for group in ("task", "model", "metric", "extractor", "judge", "command"):
        assert warned[f"{group} a-raises-{group}s"]["level"] == "warning"
        assert "pip uninstall broken-plugins" in warned[f"{group} a-raises-{group}s"]["fix"]


@pytest.mark.slow
def test_lmms_eval_is_asked_beside_broken_plugins(tmp_path: Path, beside: Command) -> None:
    pytest.importorskip("lmms_eval")
    install(tmp_path / "site", "broken-plugins", BROKEN, MODULES)
    findings = json.loads(beside("doctor", "--json").stdout)
    (asked,) = (item for item in findings if item["name"] == "lmms-eval question")
    assert (asked["level"], asked["text"]) == ("ok", "asked and scored")


def test_our_names_stay_ours(tmp_path: Path, beside: Command) -> None:
    points = (
        "[uwt_eval.models]\nwebp = mine:thing\nnew = mine:thing\n"
        "[uwt_eval.commands]\nrun = mine:thing\n"
        "[uwt_eval.protocols]\na = mine:folder\n"
    )
    module = "from pathlib import Path\nthing = dict\nfolder = Path(__file__).parent / 'protocols'"
    site = install(tmp_path / "site", "look-alike", points, {"mine.py": module})
    install(site, "another", "[uwt_eval.models]\nnew = other:thing\n", {"other.py": "thing = 1"})
    (site / "protocols").mkdir()
    (site / "protocols" / "wetok.toml").write_text("title = 'not the paper'")

    shown = beside("show", "webp")
    assert "from: harness.baselines.codecs.WebP" in shown.stdout
    ours = "uwt-eval (harness.baselines.codecs:WebP)"
    assert (
        f"warning: uwt_eval.models 'webp' of look-alike 1.0 (mine:thing) ignored: the name "
        f"belongs to {ours}"
    ) in shown.stderr
    assert "uwt_eval.commands 'run' of look-alike 1.0 (mine:thing) ignored" in shown.stderr
    assert "uwt_eval.models 'new' of " in shown.stderr
    protocol = beside("show", "wetok")
    assert "not the paper" not in protocol.stdout
    assert "warning: protocol 'wetok' in" in protocol.stderr


def test_a_command_of_another_distribution_runs(tmp_path: Path, beside: Command) -> None:
    points = "[uwt_eval.commands]\nhello = hello:hello\nwords = hello:app\n"
    module = (
        "import typer\n"
        "print('imported')\n"
        "def hello(name: str, loud: bool = False) -> None:\n"
        "    'Say hello.'\n"
        "    print(f'hello {name}' + '!' * loud)\n"
        "app = typer.Typer()\n"
        "app.command()(hello)\n"
    )
    install(tmp_path / "site", "greetings", points, {"hello.py": module})

    assert "imported" not in beside("--help").stdout
    assert "Offered by greetings 1.0." in beside("--help").stdout
    assert "hello you!" in beside("hello", "you", "--loud").stdout
    assert "hello you" in beside("words", "hello", "you").stdout
    assert "Say hello." in beside("hello", "--help").stdout
    assert "usage: uwt-eval hello" in beside("hello", "--help").stdout.lower()
    assert beside("hello").returncode == 2
