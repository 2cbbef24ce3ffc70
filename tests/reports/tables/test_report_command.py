"""`uwt-eval report`: every format, bad input, and the lint."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.conftest import CommandLine
from tests.reports.leaderboard.test_leaderboard import NASTY, parse
from tests.reports.runs import cell, change_record, write_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    good = write_run(folder, "tok", sets={"rfid": cell(0.99, 0.05)})
    change_record(good, n=50_000)
    write_run(folder, NASTY)
    write_run(folder, "tok", task="coco-recon-native", sets={"rfid": cell(6.5)})
    return folder


@pytest.mark.parametrize("form", ["md", "latex", "csv", "html"])
def test_formats(
    uwt_eval: CommandLine, runs: Path, tmp_path: Path, form: str, snapshot: SnapshotAssertion
) -> None:
    out = tmp_path / f"tables.{'tex' if form == 'latex' else form}"
    words = ("report", "table8", "table10", "--runs", runs, "--format", form)
    result = uwt_eval(*words, "--out", out)
    assert result.code == 0, result.err
    text = out.read_text(encoding="utf-8")
    assert text == snapshot
    assert uwt_eval(*words).out == text


def test_terminal_shows_all_tables(uwt_eval: CommandLine, runs: Path) -> None:
    result = uwt_eval("report", "all", "--runs", runs)
    assert result.code == 0, result.err
    for number in range(8, 14):
        assert f"Table {number}: " in result.out
    assert "not comparable with the paper: 4 samples" in result.out
    assert "the printed header is shifted" in result.out.lower()


def test_a_result_without_a_place_names_the_tables_that_have_one(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    for task in ("imagenet-recon-native", "imagenet-gen", "text-recon"):
        write_run(tmp_path, task=task)
    told = uwt_eval("report", "table8", "wetok", "--runs", tmp_path).err
    tables = {
        "imagenet-gen": "see `uwt-eval report table9 bitdance-imagenet wetok-imagenet`",
        "imagenet-recon-native": "see `uwt-eval report table10`",
        "text-recon": "in no table",
    }
    counts = ", ".join(f"1 of {task} ({where})" for task, where in tables.items())
    assert told == f"note: results of tasks without a place in table8, wetok: {counts}\n"


def test_without_runs_it_is_the_paper(uwt_eval: CommandLine) -> None:
    result = uwt_eval("report", "table9", "--format", "md")
    assert "| UniWeTok-H | 33B | 64 | 1.0B | **1.38** | 284.34 | 0.80 | 0.63 |" in result.out


def test_csv_is_whole_and_unrounded(uwt_eval: CommandLine, runs: Path) -> None:
    text = uwt_eval("report", "table8", "--runs", runs, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    (paper,) = [r for r in rows if r["row"] == "UniWeTok" and r["metric"] == "usage_pooled"]
    assert (paper["kind"], paper["value"]) == ("paper", "1.0")
    (ours,) = [r for r in rows if r["row"] == "tok" and r["metric"] == "rfid"]
    assert (ours["value"], ours["comparable"], ours["n"]) == ("0.99", "yes", "50000")
    assert float(ours["delta"]) == pytest.approx(0.2)
    assert {r["comparable"] for r in rows if r["row"].startswith("x|y")} == {"no"}


def test_html_nests_and_names_are_harmless(
    uwt_eval: CommandLine, runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.html"
    uwt_eval("report", "all", "--runs", runs, "--format", "html", "--out", out)
    page = parse(out)
    assert "img" not in {tag for tag, _ in page.tags}
    assert sum(tag == "table" for tag, _ in page.tags) == 6


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["table1"], "uwt-eval run table1 --checkpoints"),
        (["table99"], "unknown table 'table99'"),
        (["tabel8"], "did you mean 'table8'"),
        (["table8", "--runs", "nowhere"], "no such file"),
        (["table8", "--out", "x.md"], "--format"),
        (["table8", "--format", "latex", "--out", "x.py"], "x.py: end its name in .tex with"),
        (["table8", "--format", "plain", "--out", "x.py"], "x.py: end its name in .txt with"),
        (["html", "nowhere"], "no such file"),
        (["html", "nowhere", "--out", "record.json"], "record.json: end its name in .html or .htm"),
    ],
)
def test_wrong_usage_is_one_line(uwt_eval: CommandLine, words: list[str], text: str) -> None:
    result = uwt_eval("report", *words)
    assert result.code == 2
    assert text in result.err
    assert result.err.count("\n") == 1


def test_lint_finds_what_the_paper_contradicts(uwt_eval: CommandLine) -> None:
    result = uwt_eval("report", "lint", "--json")
    assert result.code == 0, result.out
    findings = json.loads(result.out)
    assert all(finding["noted"] for finding in findings)
    assert {(finding["table"], finding["where"]) for finding in findings} == {
        (1, "PPD"),
        (1, "PPD and GAP"),
        (3, "PRE and POST"),
        (9, "MAR-H"),
        (10, "WeTok, original"),
    }
    assert uwt_eval("report", "lint").out.endswith("6 contradictions, 0 without a note\n")
