"""Ablations that print one setting and two results."""

from __future__ import annotations

from typing import Any

from reports.paper import load_table
from reports.tables.lint import same_settings_other_results


def test_the_papers_two_contradictions_are_found_and_noted() -> None:
    found = list(same_settings_other_results())
    assert all(each.noted for each in found)
    texts = [each.text for each in found]
    assert any("Tab. 16 = 27" in text and "gfid 2.35 and 2.38" in text for text in texts)
    assert sum("top1" in text for text in texts) == 3


def test_a_changed_figure_is_found_and_has_no_note() -> None:
    def changed(number: int) -> dict[str, Any]:
        table = load_table(number)
        if number == 7:
            table["rows"][0]["values"]["rfid"] = 1.0
            table["notes"] = []
        return table

    fresh = set(same_settings_other_results(changed)) - set(same_settings_other_results())
    (found,) = fresh
    assert (found.table, found.where, found.noted) == (6, "Batch Size 1024", False)
    assert found.text.endswith("but rfid 1.75 and 1.0")


def test_other_settings_may_have_other_results() -> None:
    def other(number: int) -> dict[str, Any]:
        table = load_table(number)
        if number == 27:
            table["settings"] |= {"learning rate": 1.0}
        return table

    assert not any("gfid" in each.text for each in same_settings_other_results(other))
