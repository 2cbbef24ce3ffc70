"""The paper's printed numbers and settings as data, one TOML file a table.

Tab. 1-13 are results, tables of rows; Tab. 14-33 are the settings of the runs in Tab. 1-7.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.interfaces.types import ReferenceRow, ReferenceSettings

FOLDER = Path(__file__).parent
RIVALS = FOLDER / "rivals.toml"
SAMPLES = "samples"
"""Where that file has how many images or questions a task takes."""
LABEL = "paper"


def load_table(number: int) -> dict[str, Any]:
    """A table's file as it is written."""
    return tomllib.loads((FOLDER / f"table{number:02d}.toml").read_text(encoding="utf-8"))


@cache
def whole_sets() -> Mapping[str, int]:
    """Images or questions of each task's whole set; SEED-Bench's number is rounded."""
    sizes: dict[str, int] = tomllib.loads(RIVALS.read_text(encoding="utf-8"))[SAMPLES]
    return sizes


@cache
def _tables() -> tuple[dict[str, Any], ...]:
    numbers = (int(path.stem.removeprefix("table")) for path in FOLDER.glob("table*.toml"))
    return tuple(load_table(number) for number in sorted(numbers))


def _values(row: dict[str, Any], task: str) -> dict[str, float]:
    values: dict[str, float] = row.get("values", {})
    return values or row.get(task) or row.get(task.split("-")[0], {})


def reference_rows(task: str) -> list[ReferenceRow]:
    """The paper's own rows for a task, to be printed beside measured ones."""
    rows = []
    for table in _tables():
        group = table.get("tasks", {}).get(task)
        if group is None:
            continue
        ours = [
            row
            for row in table["rows"]
            if row.get("ours") and row.get("group", "") == group and _values(row, task)
        ]
        for row in ours:
            method = f", {row['method']}" if len(ours) > 1 else ""
            rows.append(
                ReferenceRow(
                    label=LABEL,
                    source=f"Tab. {table['table']}{method}",
                    n=table.get("n"),
                    values=_values(row, task),
                    note=row.get("note", ""),
                )
            )
    return rows


def preset_rows(preset: str) -> list[ReferenceRow]:
    """What the paper measured of the run that a preset repeats."""
    return [
        ReferenceRow(
            label=LABEL,
            source=f"Tab. {table['table']}, {row['method']}",
            n=table.get("n"),
            values=row["values"],
        )
        for table in _tables()
        for row in table.get("rows", ())
        if row.get("preset") == preset
    ]


def reference_settings(preset: str) -> ReferenceSettings | None:
    """The paper's settings of the run that a preset repeats; None where it prints none."""
    table = next(
        (each for each in _tables() if "settings" in each and preset == f"table{each['table']}"),
        None,
    )
    if table is None:
        return None
    return ReferenceSettings(
        label=LABEL,
        source=f"Tab. {table['table']}",
        title=table["title"],
        settings=table["settings"],
        notes=table.get("notes", ()),
        results=preset_rows(preset),
    )
