"""The paper's printed numbers as data, one TOML file a table."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from harness.types import ReferenceRow

FOLDER = Path(__file__).parent


def load_table(number: int) -> dict[str, Any]:
    """A table's file as it is written."""
    return tomllib.loads((FOLDER / f"table{number:02d}.toml").read_text(encoding="utf-8"))


def _values(row: dict[str, Any], task: str) -> dict[str, float]:
    values: dict[str, float] = row.get("values", {})
    return values or row.get(task.split("-")[0], {})


def reference_rows(task: str) -> list[ReferenceRow]:
    """The paper's own rows for a task, to be printed beside measured ones."""
    rows = []
    for path in sorted(FOLDER.glob("table*.toml")):
        table = load_table(int(path.stem.removeprefix("table")))
        group = table.get("tasks", {}).get(task)
        if group is None:
            continue
        rows += [
            ReferenceRow(
                label="paper",
                source=f"Tab. {table['table']}",
                n=table.get("n"),
                values=_values(row, task),
                note=row.get("note", ""),
            )
            for row in table["rows"]
            if row.get("ours") and row.get("group", "") == group and _values(row, task)
        ]
    return rows
