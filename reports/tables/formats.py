"""A filled table in Markdown, LaTeX, CSV, HTML and for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.commands.console import fits
from reports.tables.filled import Cell, Filled, Measure
from reports.tables.text import (
    cell_parts,
    cell_text,
    footnotes,
    heading,
    label,
    spanned_headings,
)
from reports.templates import render
from reports.text import csv_text, latex, markdown, one_line

_METHOD = 28
"""Characters of a method's name on one line of the terminal."""
_FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
"""Begins a box that shrinks to the line where it is wider, and else stays as it is."""


def to_markdown(tables: Sequence[Filled]) -> str:
    """Tables in Markdown with their notes as lists."""
    return "\n".join(line for table in tables for line in _markdown_lines(table))


def _markdown_lines(filled: Filled) -> list[str]:
    heads = ["Method", *filled.facts, *spanned_headings(filled)]
    lines = [
        f"## Table {filled.number}: {markdown(filled.title)}",
        "",
        f"| {' | '.join(map(markdown, heads))} |",
        "|---|" + "---|" * len(filled.facts) + "--:|" * len(filled.measures),
    ]
    for section in filled.sections:
        if section.heading:
            lines.append(f"| *{markdown(section.heading)}* |" + " |" * (len(heads) - 1))
        for row in section.rows:
            facts = [markdown(fact) for fact in row.facts] or [""] * len(filled.facts)
            cells = []
            for measure, cell in zip(filled.measures, row.cells, strict=True):
                text = markdown(cell_text(measure, cell, measured=row.measured))
                cells.append(f"**{text}**" if cell.bold else text)
            lines.append(f"| {' | '.join([markdown(label(row)), *facts, *cells])} |")
    return [*lines, "", *(f"- {markdown(note)}" for note in footnotes(filled)), ""]


def to_latex(tables: Sequence[Filled]) -> str:
    """`table*` environments that need the packages booktabs and graphicx."""
    return "\n".join(line for table in tables for line in _latex_lines(table))


def _latex_lines(filled: Filled) -> list[str]:
    width = 1 + len(filled.facts) + len(filled.measures)
    lines = [
        "\\begin{table*}",
        "\\centering",
        f"\\caption{{{latex(filled.title)} (Tab. {filled.number} of the paper).}}",
        _FIT,
        f"\\begin{{tabular}}{{l{'l' * len(filled.facts)}{'r' * len(filled.measures)}}}",
        "\\toprule",
    ]
    if filled.spans:
        lead = " & ".join([""] * (1 + len(filled.facts)))
        blocks = " & ".join(
            f"\\multicolumn{{{count}}}{{c}}{{{latex(name)}}}" for name, count in filled.spans
        )
        lines.append(f"{lead} & {blocks} \\\\")
    heads = ["Method", *filled.facts, *(heading(measure) for measure in filled.measures)]
    lines.append(" & ".join(map(latex, heads)) + " \\\\")
    for section in filled.sections:
        lines.append("\\midrule")
        if section.heading:
            text = f"\\textit{{{latex(section.heading)}}}"
            lines.append(f"\\multicolumn{{{width}}}{{l}}{{{text}}} \\\\")
        for row in section.rows:
            cells = [latex(label(row)), *map(latex, row.facts or [""] * len(filled.facts))]
            for measure, cell in zip(filled.measures, row.cells, strict=True):
                text = _latex_cell(measure, cell, measured=row.measured)
                cells.append(f"\\textbf{{{text}}}" if cell.bold else text)
            lines.append(" & ".join(cells) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}}", "\\par\\smallskip\\footnotesize\\raggedright"]
    lines += [f"{latex(note)}\\par" for note in footnotes(filled)]
    return [*lines, "\\end{table*}", ""]


def _latex_cell(measure: Measure, cell: Cell, *, measured: bool) -> str:
    """Value and difference above the interval, so that wide tables stay on the page."""
    value, interval, delta = map(latex, cell_parts(measure, cell, measured=measured))
    head = " ".join(filter(None, (value, delta)))
    return f"\\shortstack[r]{{{head}\\\\{{\\tiny {interval}}}}}" if interval else head


CSV_FIELDS = (
    "table",
    "section",
    "row",
    "kind",
    "column",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "delta",
    "comparable",
    "why",
    "task",
    "protocol",
    "n",
    "run_id",
)


def to_csv(tables: Sequence[Filled]) -> str:
    """One line a figure, printed or measured, unrounded; shares are shares."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for filled in tables:
        for section in filled.sections:
            for row in section.rows:
                by_task = {record.task: record for record in row.records}
                for name, measure, cell in zip(
                    spanned_headings(filled), filled.measures, row.cells, strict=True
                ):
                    if cell.value is None and not cell.task:
                        continue
                    record = by_task.get(cell.task)
                    why = cell.status if cell.value is None else "; ".join(row.reasons)
                    writer.writerow(
                        [
                            filled.number,
                            csv_text(section.heading),
                            csv_text(row.label),
                            "measured" if row.measured else "paper",
                            csv_text(name),
                            measure.metric,
                            *(
                                "" if each is None else repr(each)
                                for each in (cell.value, cell.ci_low, cell.ci_high, cell.delta)
                            ),
                            "" if not row.measured else "no" if row.reasons else "yes",
                            csv_text(why) if row.measured else "",
                            cell.task,
                            "" if record is None else csv_text(record.protocol),
                            "" if record is None else record.n,
                            "" if record is None else csv_text(record.run_id),
                        ]
                    )
    return text.getvalue()


def to_html(tables: Sequence[Filled]) -> str:
    """One page without outside parts."""
    pages = []
    for filled in tables:
        sections = [
            {
                "heading": section.heading,
                "rows": [
                    {
                        "label": one_line(label(row)),
                        "measured": row.measured,
                        "facts": row.facts or ("",) * len(filled.facts),
                        "cells": [
                            {
                                "text": one_line(cell_text(measure, cell, measured=row.measured)),
                                "bold": cell.bold,
                                "why": cell.status if cell.value is None and cell.task else "",
                            }
                            for measure, cell in zip(filled.measures, row.cells, strict=True)
                        ],
                    }
                    for row in section.rows
                ],
            }
            for section in filled.sections
        ]
        pages.append(
            {
                "number": filled.number,
                "title": filled.title,
                "facts": filled.facts,
                "spans": filled.spans,
                "heads": [heading(measure) for measure in filled.measures],
                "width": 1 + len(filled.facts) + len(filled.measures),
                "sections": sections,
                "notes": footnotes(filled),
            }
        )
    return render("tables.html.j2", tables=pages)


WRITERS: Mapping[str, Callable[[Sequence[Filled]], str]] = {
    "md": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "html": to_html,
}


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
