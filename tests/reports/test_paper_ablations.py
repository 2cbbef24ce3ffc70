"""The paper's ablations, Tab. 1-7, and the settings behind them, Tab. 14-33, as data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.interfaces.registry import METRICS, REFERENCE_SETTINGS
from reports.paper import load_table, preset_rows, reference_settings

PAPER = Path(__file__).resolve().parents[2].parent / "shared" / "paper" / "uniwetok.md"
needs_paper = pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not at hand")
RESULTS = list(range(1, 8))
SETTINGS = list(range(14, 34))
SHARES = ("top1", "top5", "top10")
UNMEASURED = {"gfid", *SHARES}
"""Columns whose metric may not be installed."""
SAME_RUNS = [(15, 22), (15, 24), (15, 25), (16, 27), (19, 21), (30, 31)]
"""Tables that print the same settings."""


def lines_of(number: int) -> list[list[str]]:
    """The cells of a printed table without emphasis marks, its caption left out."""
    text = re.sub(r"</?[bi]>|\$", "", PAPER.read_text(encoding="utf-8")).splitlines()
    start = next(i for i, line in enumerate(text) if re.match(rf"\**Table {number} ", line))
    rows: list[list[str]] = []
    for line in text[start + 1 :]:
        if line.strip():
            rows.append(line.split("\t"))
        elif rows:
            break
    return rows


def printed_value(value: Any) -> str:
    """A setting as the paper prints it."""
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return "1e-4" if value == 1e-4 else str(value)


def printed_result(column: str, value: float) -> str:
    return f"{100 * value:.2f}" if column in SHARES else f"{value:.2f}"


@pytest.mark.parametrize("number", [*RESULTS, *SETTINGS])
def test_table_says_what_it_is(number: int) -> None:
    table = load_table(number)
    assert table["table"] == number
    assert table["title"]
    assert all(note.endswith(".") for note in table.get("notes", []))


@pytest.mark.parametrize("number", RESULTS)
def test_columns_are_explained_and_in_their_own_units(number: int) -> None:
    table = load_table(number)
    for row in table["rows"]:
        values = row["values"]
        assert set(values) <= set(table["columns"])
        assert set(values) - UNMEASURED <= set(METRICS.names())
        assert all(0 < values[name] < 1 for name in (*SHARES, "ssim") if name in values)
        shares = [values[name] for name in SHARES if name in values]
        assert shares == sorted(shares), "top-1 cannot exceed top-5, nor that top-10"


@pytest.mark.parametrize("number", RESULTS)
def test_every_row_is_a_run_whose_settings_are_printed(number: int) -> None:
    for row in load_table(number)["rows"]:
        settings = load_table(int(row["preset"].removeprefix("table")))
        assert settings["ablation"] == number


def test_every_run_has_results() -> None:
    assert all(preset_rows(f"table{number}") for number in SETTINGS)


def test_a_run_that_two_tables_print_has_the_same_results_but_where_noted() -> None:
    """The contradictions that the notes name are all there are."""
    found = set()
    for first, second in SAME_RUNS:
        for ours in preset_rows(f"table{first}"):
            for theirs in preset_rows(f"table{second}"):
                found |= {
                    (name, *sorted((value, theirs.values[name])))
                    for name, value in ours.values.items()
                    if name in theirs.values and value != theirs.values[name]
                }
    assert found == {
        ("gfid", 2.35, 2.38),
        ("top1", 0.4689, 0.5132),
        ("top5", 0.7366, 0.7670),
        ("top10", 0.8111, 0.8326),
    }


@pytest.mark.parametrize(("first", "second"), SAME_RUNS)
def test_equal_settings_are_equal_and_their_notes_say_so(first: int, second: int) -> None:
    one, other = load_table(first), load_table(second)
    different = {
        name
        for name in one["settings"] | other["settings"]
        if one["settings"].get(name) != other["settings"].get(name)
    }
    assert different <= {"distill head"}, "Tab. 27 lacks it"
    for table, number in ((one, second), (other, first)):
        text = " ".join(table["notes"])
        assert re.search(rf"same settings as Tab\. [^;]*\b{number}\b", text)


@needs_paper
@pytest.mark.parametrize("number", SETTINGS)
def test_settings_are_what_the_paper_prints(number: int) -> None:
    table = load_table(number)
    (_, column), *rows = lines_of(number)
    assert table["column"] == column
    printed = {}
    for name, value in rows:
        name = re.sub(r".*\((group \w+)\)", r"\1", name)
        value = re.sub(r"\\beta_1, \\beta_2=(.*)", r"[\1]", value).replace("32 × 32", "[32,32]")
        printed[name] = re.sub(r",\s+", ",", value)
    assert {name: printed_value(value) for name, value in table["settings"].items()} == printed
    assert list(table["settings"]) == list(printed)


@needs_paper
@pytest.mark.parametrize("number", RESULTS)
def test_results_are_what_the_paper_prints(number: int) -> None:
    table = load_table(number)
    printed = [cells for cells in lines_of(number) if re.fullmatch(r"[\d.]+|-", cells[-1])]
    ours = []
    for row in table["rows"]:
        flags = ["✓" if value else "✗" for value in row.get("settings", {}).values()]
        values = [
            printed_result(name, row["values"][name]) if name in row["values"] else "-"
            for name in table["columns"]
        ]
        ours.append([*(flags or [row["method"]]), *values])
    assert ours == printed


def test_settings_are_offered_to_the_command_line() -> None:
    assert REFERENCE_SETTINGS.get("paper") is reference_settings


def test_settings_come_with_what_was_measured() -> None:
    reference = reference_settings("table16")
    assert reference is not None
    assert reference.source == "Tab. 16"
    assert reference.settings["global batchsize"] == 128
    (row,) = reference.results
    assert row.source == "Tab. 1, PPD and GAP"
    assert row.values["gfid"] == 2.35


@pytest.mark.parametrize("name", ["stage1", "table8", "table16x", "nano"])
def test_no_settings_are_made_up(name: str) -> None:
    assert reference_settings(name) is None
