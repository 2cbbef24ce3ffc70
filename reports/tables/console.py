"""A filled table in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.commands.console import fits
from reports.escape import one_line
from reports.tables.filled import Filled
from reports.tables.text import cell_text, footnotes, label, spanned_headings

_METHOD = 28
"""Characters of a method's name on one line."""


def show(console: Console, filled: Filled) -> None:
    """Print a table and its notes; one that is too wide comes in parts, a few columns each."""
    console.print(
        f"Table {filled.number}: {filled.title}", style="italic", markup=False, soft_wrap=True
    )
    for part in _parts(console, filled):
        console.print(part)
    for note in footnotes(filled):
        console.print(one_line(note), markup=False, style="dim", soft_wrap=True)


def _parts(console: Console, filled: Filled) -> Iterator[Table]:
    """Tables that fit the console, as few as can be; one column at least in each."""
    start, total = 0, len(filled.measures)
    while start < total:
        for end in range(total, start, -1):
            part = _table(filled, range(start, end))
            if fits(console, part):
                break
        yield part
        start = end


def _table(filled: Filled, columns: range) -> Table:
    """The rows with some of the columns of numbers; facts about methods stand before the first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Method", overflow="fold", max_width=_METHOD)
    facts = filled.facts if columns.start == 0 else ()
    for fact in facts:
        table.add_column(fact)
    headings = spanned_headings(filled)
    for place in columns:
        table.add_column(headings[place], justify="right")
    for section in filled.sections:
        if section.heading:
            table.add_row(f"[italic]{escape(section.heading)}[/italic]")
        for row in section.rows:
            known = [escape(fact) for fact in row.facts] or [""] * len(filled.facts)
            cells = []
            for place in columns:
                cell = row.cells[place]
                text = cell_text(filled.measures[place], cell, measured=row.measured)
                text = escape(text.replace(" [", "\n["))  # The interval below its value.
                cells.append(f"[bold]{text}[/bold]" if cell.bold else text)
            style = "bold cyan" if row.measured else ""
            table.add_row(escape(one_line(label(row))), *known[: len(facts)], *cells, style=style)
    return table
