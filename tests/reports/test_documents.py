"""The commands and files of docs/reports.md run just as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.reports.runs import cell, write_run
from tests.reports.test_training import write_log
from tests.test_docs import REPOSITORY, blocks

DOCUMENT = "docs/reports.md"
COMMANDS = [
    line
    for text in blocks(DOCUMENT, "")
    for line in text.splitlines()
    if line.startswith("uwt-eval report")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_command(
    command: str, uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table, rows = blocks(DOCUMENT, "toml")
    Path("mine.toml").write_text(table, encoding="utf-8")
    Path("rows.toml").write_text(rows, encoding="utf-8")
    names = re.findall(r'sample = "(.*)"', rows)
    for model in ("identity", "webp"):
        columns = {"psnr": [20.0, 21.0, 22.0]}
        write_run(Path("runs"), model, columns=columns, pictures=(0, 1, 2), ids=names, side=342)
    sets = {"gfid": cell(2.5, 0.1)}
    root = write_run(Path("runs"), "uniwetok-ar-b:mine", task="imagenet-gen", sets=sets)
    for name in ("table16", "mine"):
        write_log(Path("runs") / "train" / name)
    words = shlex.split(command.replace("runs/RUN_A", str(root)))[1:]
    # A shell expands what has a star.
    words = [each for word in words for each in (_expanded(word) if "*" in word else [word])]
    result = uwt_eval(*words)
    assert result.code == 0, result.err


def _expanded(pattern: str) -> list[str]:
    return sorted(map(str, Path().glob(pattern)))


def test_pictures_are_there() -> None:
    text = (REPOSITORY / DOCUMENT).read_text(encoding="utf-8")
    named = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(named) == 3
    assert all((REPOSITORY / "docs" / name).is_file() for name in named)
