"""A plan laid out for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_GIB = 2**30

Row = tuple[str, str, str]
"""What is counted, how much it is, and a remark."""


def sections_table(title: str, sections: Mapping[str, Sequence[Row]]) -> Table:
    """Lay sections of rows out for a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("", style="dim")
    for name, rows in sections.items():
        table.add_row(name, style="bold")
        for label, value, remark in rows:
            table.add_row(f"  {label}", value, remark)
        table.add_section()
    return table


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / _GIB:,.2f} GiB"
