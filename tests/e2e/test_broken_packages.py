"""lmms-eval beside a package that it cannot be run with: said as that, never as bad data."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.vqa.process import EVALUATOR
from tests.conftest import CommandLine
from tests.tasks.vqa.copies import ROWS, write_json

pytest.importorskip("lmms_eval")

TOY = Path(__file__).parent.parent / "tasks" / "vqa" / "toy_chat.py"
FIX = 'pip install "filelock<4,>=3.16"'


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, str]:
    """A filelock as version 4 has it, without `filelock._api`, before the installed one."""
    import filelock

    folder = tmp_path / "instead" / "filelock"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(filelock.__file__).parent, folder, ignore=unwanted)
    (folder / "_api.py").rename(folder / "_base.py")
    for file in folder.rglob("*.py"):
        file.write_text(re.sub(r"\b_api\b", "_base", file.read_text()))
    return {"PYTHONPATH": str(folder.parent)}


def test_a_run_names_the_package_and_the_fix(
    uwt_eval: CommandLine, tmp_path: Path, broken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the process that asks, which alone imports it."""
    monkeypatch.setenv("PYTHONPATH", broken["PYTHONPATH"])
    write_json(tmp_path / "copies" / "pope", ROWS["pope"])
    (tmp_path / "replies.json").write_text("{}")
    model = f"toy-chat:{tmp_path / 'replies.json'}"
    words = ["run", "pope", "--plugin", str(TOY), "--model", model, "--device", "cpu"]
    words += ["--data", str(tmp_path / "copies"), "--out", str(tmp_path / "runs")]
    done = uwt_eval(*words)
    EVALUATOR.close()
    message = " ".join(done.err.split())
    assert done.code == 2
    assert "pope: lmms-eval cannot be imported: No module named 'filelock._api'" in message
    assert message.endswith(FIX)
    assert "data" not in message
    assert not (tmp_path / "replies.log").exists()


def test_doctor_says_the_same(broken: dict[str, str]) -> None:
    command = [sys.executable, "-m", "uwt_eval", "doctor", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **broken}
    )
    assert done.returncode in (0, 2), done.stderr
    (finding,) = (one for one in json.loads(done.stdout) if one["name"] == "lmms-eval question")
    assert finding["level"] == "error"
    assert "No module named 'filelock._api'" in finding["text"]
    assert finding["fix"] == FIX
