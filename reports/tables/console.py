"""A filled table in a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reports.escape import one_line
from reports.tables.filled import Filled
from reports.tables.text import cell_text, footnotes, label, spanned_headings


def show(console: Console, filled: Filled) -> None:
    """Print a table and its notes."""
    table = Table(
        title=f"Table {filled.number}: {filled.title}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("Method", overflow="fold")
    for fact in filled.facts:
        table.add_column(fact)
    for name in spanned_headings(filled):
        table.add_column(name, justify="right")
    for section in filled.sections:
        if section.heading:
            table.add_row(f"[italic]{escape(section.heading)}[/italic]")
        for row in section.rows:
            cells = []
            for measure, cell in zip(filled.measures, row.cells, strict=True):
                text = escape(cell_text(measure, cell, measured=row.measured))
                cells.append(f"[bold]{text}[/bold]" if cell.bold else text)
            facts = [escape(fact) for fact in row.facts] or [""] * len(filled.facts)
            style = "bold cyan" if row.measured else ""
            table.add_row(escape(one_line(label(row))), *facts, *cells, style=style)
    console.print(table)
    for note in footnotes(filled):
        console.print(one_line(note), markup=False, style="dim", soft_wrap=True)
