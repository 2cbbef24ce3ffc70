"""Names from elsewhere in what every command prints and writes."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.reports.runs import change_record, write_run

NAME = "=1+1\x1b[2J\n::error::x\u202e\x9b<script>alert(1)</script>|**b**"
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        root = write_run(tmp_path / "runs", name)
        change_record(root, model=f"{name} {NAME}", dataset=NAME)
    return tmp_path / "runs"


def check(text: str) -> None:
    """No control character is left, and no line begins with a command."""
    assert not UNSAFE.findall(text)
    assert not [line for line in text.splitlines() if line.lstrip().startswith("::error")]


def test_terminals_and_logs(uwt_eval: CommandLine, runs: Path) -> None:
    one, two = sorted(runs.iterdir())
    for words in (
        ("compare", one, two),
        ("compare", one, two, "--json"),
        ("gate", one, "--baseline", two),
        ("gate", one, "--baseline", two, "--json"),
        ("leaderboard", "check", runs),
        ("report", "all", "--runs", runs),
    ):
        result = uwt_eval(*words)
        assert result.code in {0, 1, 2}, result.err
        check(result.out)
        check(result.err)


def test_files(uwt_eval: CommandLine, runs: Path, tmp_path: Path) -> None:
    one, two = sorted(runs.iterdir())
    files = {name: tmp_path / name for name in ("L.md", "L.html", "g.md", "g.xml", "r.html")}
    uwt_eval("leaderboard", runs, "--out", files["L.md"], "--html", files["L.html"])
    uwt_eval(
        *("gate", one, "--baseline", two, "--markdown", files["g.md"], "--junit", files["g.xml"])
    )
    uwt_eval("report", "html", one, "--out", files["r.html"])
    for name, path in files.items():
        text = path.read_text(encoding="utf-8")
        assert not UNSAFE.findall(text)
        assert "<script>alert" not in text
        if not name.endswith("html"):
            check(text)
        else:
            assert "Content-Security-Policy" in text
            assert "default-src &#39;none&#39;" in text
    assert "**b**" not in files["L.md"].read_text(encoding="utf-8")


def test_spreadsheets(uwt_eval: CommandLine, runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "t.csv"
    result = uwt_eval("report", "all", "--runs", runs, "--format", "csv", "--out", target)
    assert result.code == 0, result.err
    text = target.read_text(encoding="utf-8")
    check(text)
    for row in csv.reader(io.StringIO(text)):
        assert not [each for each in row if each.startswith(("=", "+", "@"))]
