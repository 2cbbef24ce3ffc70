"""The lint finds each kind of contradiction when a table is changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from reports.paper import load_table
from reports.tables.lint import lint_table


def row_of(table: dict[str, Any], method: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in table["rows"] if row["method"] == method)
    return found


def set_figure(method: str, block: str, metric: str, value: float) -> Callable[[Any], None]:
    def change(table: dict[str, Any]) -> None:
        row_of(table, method)[block][metric] = value

    return change


def repeat(table: dict[str, Any]) -> None:
    table["rows"].append(copy.deepcopy(row_of(table, "LlamaGen")) | {"group": "original"})


@pytest.mark.parametrize(
    ("number", "change", "words"),
    [
        (11, set_figure("Janus", "geneval", "counting", 0.9), "the mean of the six is 0.712"),
        (12, set_figure("UniWeTok-Chat", "mme", "perception", 900.0), "896.6"),
        (12, set_figure("UniWeTok-Chat", "mme", "total", 1400.0), "-15.7"),
        (13, set_figure("OmniGen", "gedit-en", "gedit_overall", 5.98), "more than sqrt"),
        (8, set_figure("GigaTok", "values", "rfid", 0.5), "is bold, better: GigaTok 0.5"),
        (8, set_figure("IBQ", "values", "usage_pooled", 96.0), "a share above 1"),
        (9, set_figure("RAR-L", "values", "gfid", float("nan")), "values.gfid is nan"),
        (8, set_figure("IBQ", "values", "fid", 1.0), "values.fid belongs to no column"),
        (10, repeat, "all figures are those of the row in resize-256"),
        (13, lambda table: row_of(table, "BAGEL").update(group="other"), "has no heading"),
        (13, lambda table: row_of(table, "BAGEL").update(colour=1), "belongs to no column"),
        (13, lambda table: row_of(table, "BAGEL").update(bold=["gedit-en.x"]), "has no figure"),
    ],
)
def test_contradictions_are_found(
    number: int, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    table = load_table(number)
    before = lint_table(table)
    change(table)
    fresh = [finding for finding in lint_table(table) if finding not in before]
    assert any(words in finding.text for finding in fresh), fresh


def test_a_note_makes_it_known() -> None:
    table = load_table(13)
    set_figure("OmniGen", "gedit-en", "gedit_overall", 7.0)(table)
    assert [finding.noted for finding in lint_table(table)] == [False]
    row_of(table, "OmniGen")["note"] = "as printed"
    assert [finding.noted for finding in lint_table(table)] == [True]
