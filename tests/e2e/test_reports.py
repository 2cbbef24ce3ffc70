"""Comparison, gate, leaderboard and page of real runs; the documents' commands as they stand."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import CommandLine
from tests.test_docs import REPOSITORY, blocks

COMMANDS = [
    (document, line)
    for document in ("docs/gates.md", "docs/leaderboard.md", "docs/viewer.md")
    for text in blocks(document, "")
    for line in text.splitlines()
]


@pytest.fixture(scope="module")
def codec_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEG as RUN_A and WebP as RUN_B on eight images of the sample set."""
    folder = tmp_path_factory.mktemp("codecs")
    words = ["run", "imagenet-recon", "--model", "jpeg", "--model", "webp", "--limit", "8"]
    environment = os.environ | {"UWT_EVAL_CACHE": str(folder / "cache"), "UWT_EVAL_OFFLINE": "1"}
    subprocess.run(
        [sys.executable, "-m", "uwt_eval", *words, "--metrics", "bpp,psnr,ssim", "--quiet"],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )
    for name, model in (("RUN_A", "jpeg"), ("RUN_B", "webp")):
        next((folder / "runs").glob(f"*-{model}-*")).rename(folder / "runs" / name)
    return folder


@pytest.fixture
def workplace(codec_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the documents' commands find what they name."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    folder = tmp_path / "workplace"
    shutil.copytree(codec_runs / "runs", folder / "runs")
    for name in ("theirs.json", "baseline.json"):
        shutil.copy(folder / "runs" / "RUN_A" / "record.json", folder / name)
    monkeypatch.chdir(folder)
    return folder


def test_images_made_elsewhere_stand_in_the_tables(uwt_eval: CommandLine, workplace: Path) -> None:
    made = workplace / "made"
    made.mkdir()
    names = json.loads((workplace / "runs" / "RUN_B" / "run.json").read_text())["samples"]
    for sample in names:
        picture = workplace / "runs" / "RUN_B" / "pictures" / f"{sample['index']:06d}.png"
        shutil.copy(picture, made / f"{sample['id']}.png")
    words = ("run", "imagenet-recon", "--limit", 8, "--metrics", "bpp,psnr,ssim", "--device", "cpu")
    run = uwt_eval(*words, "--images", f"{made}?bits=4096", "--label", "Theirs", "--quiet")
    assert run.code == 0, run.err
    sets = ("metrics", made, made, "--metrics", "psnr", "--record", "--label", "Set", "--quiet")
    kept = uwt_eval(*sets, "--device", "cpu")
    assert kept.code == 0, kept.err
    for table in ("table8", "table10", "all"):
        shown = uwt_eval("report", table, "--runs", "runs")
        assert "Theirs (images made elsewhere)" in shown.out
        assert "0.0625 bpp; not comparable with the paper: 8 samples" in shown.out
        assert "Set" not in shown.out
        told = f"note: results of tasks without a place in {table}: 1 of files (in no table)"
        assert told in shown.err
        assert "`uwt-eval run TASK --images PLACE`" in shown.err
    theirs = next(Path("runs").glob("imagenet-recon-Theirs*"))
    compared = uwt_eval("compare", "runs/RUN_B", theirs, "--json")
    assert compared.code == 0, compared.err
    passed = uwt_eval("gate", theirs, "--baseline", "runs/RUN_B", "--rule", "psnr>=-0.01")
    assert passed.code == 0, passed.err
    board = uwt_eval("leaderboard", "build", "runs", "--out", "board.md")
    assert board.code == 0, board.err
    assert "Theirs (images made elsewhere)" in Path("board.md").read_text()


def test_documents_have_commands() -> None:
    assert len(COMMANDS) == 10


@pytest.mark.parametrize(("document", "command"), COMMANDS)
def test_commands_of_the_documents(
    uwt_eval: CommandLine, workplace: Path, document: str, command: str
) -> None:
    words = shlex.split(command)
    assert words[0] == "uwt-eval"
    result = uwt_eval(*words[1:])
    # The runs were not asked for rFID: a rule on it is wrong usage.
    assert result.code == (2 if "rfid" in command else 0), result.out + result.err


def test_webp_is_better_than_jpeg_and_not_the_other_way_round(
    uwt_eval: CommandLine, workplace: Path
) -> None:
    facts: dict[str, Any] = json.loads(
        uwt_eval("compare", "runs/RUN_A", "runs/RUN_B", "--json").out
    )
    assert facts["paired"]["psnr"]["ci_low"] > 0
    assert facts["common_samples"] == 8
    assert uwt_eval("gate", "runs/RUN_B", "--baseline", "baseline.json").code == 0
    rule = ("--rule", "psnr>=-0.05")
    assert uwt_eval("gate", "runs/RUN_A", "--baseline", "runs/RUN_B", *rule).code == 1


def test_what_a_run_wrote_passes_the_check(uwt_eval: CommandLine, workplace: Path) -> None:
    result = uwt_eval("leaderboard", "check", "runs", "--json")
    assert {each["checked_against"] for each in json.loads(result.out)} == {
        "run.json and samples.parquet"
    }
    assert result.code == 0


def test_workflow_step_gates(workplace: Path) -> None:
    text = (REPOSITORY / ".github" / "workflows" / "gate.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    steps = {step.get("name"): step for step in workflow["jobs"]["gate"]["steps"]}
    assert set(workflow[True]["workflow_call"]["inputs"]) == {
        "run",
        "baseline",
        "rules",
        "install",
        "python",
        "name",
    }
    shutil.rmtree("runs/RUN_B")
    Path("rules.toml").write_text('rules = ["psnr>=-0.05"]\n')
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for rules, code in (("", 0), ("rules.toml", 0), ("nowhere.toml", 2)):
        environment = os.environ | {"PATH": path, "BASELINE": "baseline.json", "RULES": rules}
        result = subprocess.run(
            ["bash", "-e", "-c", steps["Gate"]["run"]], env=environment, check=False
        )
        assert result.returncode == code
    assert "gate passed" in Path("gate.md").read_text(encoding="utf-8")
    assert Path("gate.xml").is_file()


@pytest.mark.parametrize("text", blocks("docs/gates.md", "yaml"))
def test_examples_call_what_there_is(text: str) -> None:
    example = yaml.safe_load(text)
    if "jobs" in example:
        workflow = REPOSITORY / ".github" / "workflows" / "gate.yml"
        inputs = yaml.safe_load(workflow.read_text(encoding="utf-8"))[True]["workflow_call"][
            "inputs"
        ]
        assert set(example["jobs"]["tokenizer"]["with"]) <= set(inputs)
    else:
        assert "uwt-eval gate runs --baseline gates/webp.json" in text
