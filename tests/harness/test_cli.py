"""How the command line ends: exit codes, and one line for what nobody has foreseen."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest

from harness.commands import list as listing
from harness.interfaces.registry import COMMANDS, EXTRACTORS, METRICS, MODELS
from tests.conftest import CommandLine


def offer(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """`uwt-eval broken` raises an error."""

    def broken() -> NoReturn:
        raise error

    monkeypatch.setitem(COMMANDS._registered, "broken", broken)


@pytest.mark.parametrize(
    "error", [ValueError("first\nsecond"), RecursionError("deep"), BaseException("panic")]
)
def test_unforeseen_errors_are_one_line_and_no_regression(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    offer(monkeypatch, error)
    result = uwt_eval("broken")
    assert result.code == 70
    assert result.err.startswith(f"error: unforeseen {type(error).__name__}: ")
    assert result.err.count("\n") == 1
    assert "--debug" in result.err


@pytest.mark.parametrize(
    ("words", "found"),
    [("ru", "run"), ("run --model-p", "--model-precision"), ("leaderboard ch", "check")],
)
def test_a_shell_completes_commands_and_their_options(
    words: str, found: str, uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"uwt-eval {words}"
    monkeypatch.setenv("_UWT_EVAL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    result = uwt_eval()
    assert (result.code, result.out.split()) == (0, [found])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "--modl", "x"), "No such option"),
        (("run", "imagenet-recon", "--limit", "many"), "Invalid value for '--limit'"),
        (("compare",), "Missing argument"),
        (("compare", "a", "b", "c"), "(c): it takes run_a and run_b, no more; uwt-eval com"),
        (("doctor", "now"), "(now): it takes none; uwt-eval doctor"),
        (("train", "mllm"), "Missing option '--preset': pretrain, gen, edit or chat; uwt-eval"),
        (("train", "tokenizer"), "Missing option '--preset': Named settings, see `uwt-eval list"),
        (
            ("export", "runs"),
            "Missing option '--to'. Choose from: csv, parquet, hf, wandb, trackio;",
        ),
        (("report", "training", "--fo"), "uwt-eval report training --help says what it takes"),
        (("runn",), "No such command 'runn'"),
    ],
)
def test_what_the_option_parser_refuses_is_one_line(
    uwt_eval: CommandLine, words: tuple[str, ...], told: str
) -> None:
    result = uwt_eval(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert told in result.err


def test_no_command_prints_the_help(uwt_eval: CommandLine) -> None:
    result = uwt_eval()
    assert result.code in {0, 2}  # Of click before 8.2, and since.
    assert result.err == ""
    assert "Usage: uwt-eval [OPTIONS] COMMAND" in result.out


@pytest.mark.parametrize("words", [("--debug", "broken"), ("broken", "--debug")])
def test_debug_shows_the_traceback(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    offer(monkeypatch, ValueError("here"))
    result = uwt_eval(*words)
    assert result.code == 70
    assert "Traceback" in result.err
    assert "in broken" in result.err


@pytest.mark.parametrize("words", [("--offline", "show"), ("show", "--offline")])
def test_offline_may_stand_anywhere(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    monkeypatch.setenv("UWT_EVAL_OFFLINE", "0")
    result = uwt_eval(*words, "diffusers-vae:owner/none")
    assert "UWT_EVAL_OFFLINE is set" in result.err
    assert result.code == 2
    assert result.err.count("\n") == 1


def test_the_file_is_named(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(text: str, **_: object) -> NoReturn:
        raise ZeroDivisionError(len(text))

    path = tmp_path / "a.record.json"
    path.write_text("{}")
    monkeypatch.setattr("reports.records.json.loads", broken)
    result = uwt_eval("leaderboard", path)
    assert result.code == 70
    assert f"ZeroDivisionError: 2, at {path} (reports/records.py:" in result.err
    assert result.err.count("\n") == 1


def test_a_reader_that_has_gone_is_no_regression() -> None:
    listing = subprocess.Popen(
        [sys.executable, "-m", "uwt_eval", "show", "imagenet-recon", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    assert listing.wait(60) == 141
    assert listing.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full on this system")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", [("list",), ("list", "tasks", "--json"), ("--version",)])
def test_output_that_finds_no_room_is_one_line(words: tuple[str, ...], buffered: bool) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "uwt_eval", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"},
            check=False,
        )
    assert result.stderr.startswith(b"error: standard output takes no more (No space left on")
    assert result.stderr.count(b"\n") == 1
    assert result.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "imagenet-recon", "--model=jpeg", "--limit=2", "--metrics=psnr", "--out=runs"), 0),
        (("run", "imagenet-recom"), 2),
        (("run", "--modl"), 2),
    ],
)
def test_a_log_that_finds_no_room_ends_nothing(
    words: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "uwt_eval", *words],
            stdout=subprocess.PIPE,
            stderr=full,
            cwd=tmp_path,
            check=False,
        )
    assert result.returncode == code
    assert len([*tmp_path.glob("runs/*/record.json")]) == (code == 0)


def test_a_closed_output_is_one_line() -> None:
    command = f"exec {shlex.quote(sys.executable)} -m uwt_eval list tasks >&-"
    result = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False)
    assert result.stderr == b"error: standard output is closed: give it a place, as > /dev/null\n"
    assert result.returncode == 2


def test_names_that_are_no_text_are_printed(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS._registered, "name", lambda: print("a\udcff.png"))
    assert uwt_eval("name").out == "a\\udcff.png\n"


def test_the_version_is_that_of_the_distribution(uwt_eval: CommandLine) -> None:
    result = uwt_eval("--version")
    assert (result.code, result.out) == (0, f"uwt-eval {metadata.version('uwt-eval')}\n")


@pytest.mark.parametrize("words", [("-h",), ("run", "-h"), ("report", "-h"), ("train", "ar", "-h")])
def test_help_has_its_short_form(uwt_eval: CommandLine, words: tuple[str, ...]) -> None:
    long = uwt_eval(*words[:-1], "--help")
    assert long.code == 0
    assert uwt_eval(*words) == long


def test_every_plug_in_is_listed_with_a_line(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for registry in (MODELS, METRICS, EXTRACTORS):  # Those of other tests say nothing.
        monkeypatch.setattr(registry, "_registered", {})
    for kind in ("models", "metrics", "extractors"):
        listed = json.loads(uwt_eval("list", kind, "--json").out)[kind]
        assert [name for name, text in listed.items() if not text.strip()] == []
    assert "PNG" in json.loads(uwt_eval("list", "models", "--json").out)["models"]["identity"]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_list_of_long_names_keeps_what_is_said_of_them(
    terminal: bool, uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In half of a terminal's columns each; in a pipe on one line, which grep finds."""
    long = "lmms:" + 15 * "reasoning_"
    rows = {long: "answers: hub/Reasoning [a]; a judge's OPENAI_API_KEY", "lmms:b": "refused: c"}
    monkeypatch.setitem(listing._LISTS, listing.Kind.LMMS, lambda: rows)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    lines = uwt_eval("list", "lmms").out.splitlines()
    if terminal:
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
        assert max(map(len, plain)) <= 80
        assert "".join(line[:40].strip() for line in plain).startswith(f"lmms{long}lmms:b")
        assert " ".join(" ".join(line[40:] for line in plain).split()) == " ".join(rows.values())
    else:
        assert [line.split(maxsplit=1) for line in lines[1:3]] == [[*each] for each in rows.items()]


def test_lists_of_a_task(uwt_eval: CommandLine) -> None:
    listed = json.loads(uwt_eval("list", "--task", "imagenet-recon", "--json").out)
    assert list(listed) == ["models", "metrics", "extractors", "protocols"]
    assert "webp" in listed["models"]
    assert "uniwetok-chat" not in listed["models"]
    assert "hf-vlm" not in listed["models"]
    assert {"psnr", "rfid"} <= listed["metrics"].keys()
    assert "is" not in listed["metrics"]
    assert "pixels" in listed["extractors"]
    assert "wetok" in listed["protocols"]
    refused = uwt_eval("list", "tasks", "--task", "pope")
    assert refused.code == 2
    assert "--task chooses among models, metrics" in refused.err
    assert "did you mean 'pope'" in uwt_eval("list", "--task", "popes").err
