"""Contradictions between the paper's ablations: one setting, two results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reports.paper import load_table

ABLATIONS = range(1, 8)
Load = Callable[[int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Printed:
    table: int
    method: str
    preset: str
    settings: Mapping[str, Any]
    values: Mapping[str, float]
    notes: str


def same_settings_other_results(
    load: Load = load_table,
) -> Iterator[tuple[int, str, str, bool]]:
    """Rows whose settings agree wherever both are printed, and whose figures do not.

    Args:
        load: Reads a table by its number.

    Yields:
        The table, the row, what differs, and whether a note of either table names the other.
    """
    for one, other in itertools.combinations(_rows(load), 2):
        shared = one.settings.keys() & other.settings.keys()
        if any(one.settings[key] != other.settings[key] for key in shared):
            continue
        differing = [
            f"{metric} {value} and {other.values[metric]}"
            for metric, value in one.values.items()
            if other.values.get(metric, value) != value
        ]
        if differing:
            where = f"Tab. {other.table}, {other.method}"
            same = one.preset.removeprefix("table"), other.preset.removeprefix("table")
            text = f"settings of {where} (Tab. {same[0]} = {same[1]}), but {', '.join(differing)}"
            noted = f"Tab. {other.table}" in one.notes or f"Tab. {one.table}" in other.notes
            yield one.table, one.method, text, noted


def _rows(load: Load) -> list[_Printed]:
    return [
        _Printed(
            table=number,
            method=row["method"],
            preset=row["preset"],
            settings=load(int(row["preset"].removeprefix("table")))["settings"],
            values=row["values"],
            notes=" ".join(table.get("notes", ())),
        )
        for number in ABLATIONS
        for table in (load(number),)
        for row in table["rows"]
    ]
