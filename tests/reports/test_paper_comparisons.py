"""Tab. 8-13 as data beside the paper's text: every cell, every mark, in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reports.paper import load_table
from reports.tables.filled import COMPARISONS, measures_of

PAPER = Path(__file__).resolve().parents[2].parent / "shared" / "paper" / "uniwetok.md"
needs_paper = pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not at hand")
HEADER_LINES = {8: 1, 9: 1, 10: 2, 11: 2, 12: 1, 13: 2}
EMPTY = {"-", "—", ""}


def printed_lines(number: int) -> list[list[str]]:
    """The cells of a printed table below its header."""
    text = PAPER.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(text) if line.startswith(f"**Table {number} "))
    rows: list[list[str]] = []
    for line in text[start + 1 :]:
        if line.strip():
            rows.append(line.split("\t"))
        elif rows:
            break
    return rows[HEADER_LINES[number] :]


def plain(text: str) -> str:
    text = re.sub(r"</?(b|i|sub|math)>|\$", "", text).strip()
    for old, new in ((r"\alpha", "α"), (r"\Sigma", "Σ"), (r" \times ", "x"), ("- ", "-")):
        text = text.replace(old, new)
    return re.sub(r"\^\{(\d+)\}", r"^\1", text).replace("×", "x")


def number_of(text: str) -> float | None:
    text = plain(text)
    return None if text in EMPTY else float(text.removesuffix("%"))


def pairs(number: int) -> list[tuple[dict[str, Any], list[str], str]]:
    """Each row of the data with its printed cells and the heading above it."""
    rows = load_table(number)["rows"]
    heading = ""
    found = []
    for cells in printed_lines(number):
        if len([cell for cell in cells if cell.strip()]) == 1:
            heading = plain(cells[0])
        else:
            found.append((cells, heading))
    assert len(found) == len(rows)
    return [(row, cells, above) for row, (cells, above) in zip(rows, found, strict=True)]


@needs_paper
@pytest.mark.parametrize("number", COMPARISONS)
def test_every_figure_is_the_printed_one(number: int) -> None:
    table = load_table(number)
    measures = measures_of(table)
    for row, cells, _ in pairs(number):
        figures = cells[1 + len(table.get("facts", {})) :]
        assert len(figures) == len(measures), row["method"]
        for measure, text in zip(measures, figures, strict=True):
            value = row.get(measure.table, {}).get(measure.metric)
            scaled = None if value is None else round(value * (100 if measure.percent else 1), 6)
            assert scaled == number_of(text), (row["method"], measure.key)


@needs_paper
@pytest.mark.parametrize("number", COMPARISONS)
def test_names_citations_facts_and_headings(number: int) -> None:
    table = load_table(number)
    for row, cells, above in pairs(number):
        name = row["method"] + (f" [{row['citation']}]" if "citation" in row else "")
        assert plain(cells[0]).removesuffix(" (Ours)") == name
        assert ("UniWeTok" in name) == bool(row.get("ours"))
        for key, text in zip(table.get("facts", {}), cells[1:], strict=False):
            printed = plain(text)
            assert str(row.get(key, "")) == ("" if printed in EMPTY else printed), name
        heading = table.get("groups", {}).get(row.get("group", ""), "")
        assert heading.lower() == above.lower()


@needs_paper
@pytest.mark.parametrize("number", COMPARISONS)
def test_bold_is_where_the_paper_has_it(number: int) -> None:
    table = load_table(number)
    measures = measures_of(table)
    for row, cells, _ in pairs(number):
        figures = cells[1 + len(table.get("facts", {})) :]
        printed = [m.key for m, text in zip(measures, figures, strict=True) if "<b>" in text]
        assert row.get("bold", []) == printed, row["method"]


@pytest.mark.parametrize("number", COMPARISONS)
def test_own_rows_stand_where_tasks_find_them(number: int) -> None:
    table = load_table(number)
    groups = {row.get("group", "") for row in table["rows"] if row.get("ours")}
    assert groups == set(table["tasks"].values())
    assert all(each.endswith(".") for each in table.get("notes", []))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (10, "claims the best performance"),
        (11, "header is shifted"),
        (11, "FLUX.1-Dev"),
        (12, "380.9 cognition"),
        (13, "Step1X-Edit (6.70)"),
        (9, "2.38"),
    ],
)
def test_contradictions_that_no_lint_can_find_are_notes(number: int, words: str) -> None:
    assert any(words in note for note in load_table(number)["notes"])
