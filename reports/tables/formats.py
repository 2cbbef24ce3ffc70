"""A filled table in Markdown, LaTeX, CSV, HTML and for a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.commands.console import NOTHING, fits, print_table, terminal
from harness.commands.formats import Format, markdown, to_csv as rows_as_csv
from harness.interfaces.errors import one_line
from reports.comparability import dataset_text
from reports.tables.codes import Codes
from reports.tables.filled import Cell, Filled, Measure, Row
from reports.templates import render
from reports.text import latex

_METHOD = 28
"""Characters of a method's name on one line of the terminal."""
_FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
"""Begins a box that shrinks to the line where it is wider, and else stays as it is."""


def heading(measure: Measure) -> str:
    """The column's heading with its better direction."""
    return f"{measure.heading} {'↑' if measure.higher_is_better else '↓'}"


def cell_text(measure: Measure, cell: Cell, measured: bool) -> str:
    """The value; of a measured one also interval and difference from the paper's own row."""
    return " ".join(filter(None, cell_parts(measure, cell, measured)))


def cell_parts(measure: Measure, cell: Cell, measured: bool) -> tuple[str, str, str]:
    """Value, interval and difference, each empty where there is none."""
    if cell.value is None:
        return NOTHING, "", ""
    more = int(measured)
    interval = delta = ""
    if cell.ci_low is not None and cell.ci_high is not None:
        ends = (measure.text(end, more) for end in (cell.ci_low, cell.ci_high))
        interval = f"[{', '.join(ends)}]"
    if cell.delta is not None:
        sign = "−" if cell.delta < 0 else "+"
        delta = f"Δ{sign}{measure.text(abs(cell.delta), more)}"
    return measure.text(cell.value, more), interval, delta


def footnotes(filled: Filled) -> list[str]:
    """What must be known of measured rows, then the notes on the printed ones."""
    measured = [row for section in filled.sections for row in section.rows if row.measured]
    several = _on_several_sets(measured)
    lines = [_measured_note(filled, row, named=row.label in several) for row in measured]
    lines += _empty_cells(filled, measured)
    for section in filled.sections:
        for row in section.rows:
            if row.note:
                where = f" ({section.heading})" if section.heading else ""
                lines.append(f"{row.label}{where}: {row.note}")
    return [*lines, *filled.notes, *([f"source: {filled.source}"] if filled.source else [])]


def _on_several_sets(rows: Sequence[Row]) -> set[str]:
    """Models with results of one task on several data sets."""
    sets: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        for record in row.records:
            sets.setdefault((row.label, record.task), set()).add(record.dataset_digest)
    return {model for (model, _), digests in sets.items() if len(digests) > 1}


def _measured_note(filled: Filled, row: Row, *, named: bool) -> str:
    """Write a measured row's footnote: protocol, runs, and its data sets if ``named``."""
    sets = ", ".join(dict.fromkeys(dataset_text(record) for record in row.records))
    on = f"data set {sets}" if named else f"n {row.n}"
    facts = f"[{row.number}] {row.label}: protocol {row.protocols}, {on}, " + ", ".join(
        f"run {run_id}" for run_id in row.run_ids
    )
    if stated := Codes.of(row.records[0]).text or _rate(row):
        facts += f"; {stated}"
    if row.reasons:
        return f"{facts}; not comparable with {filled.whose}: {'; '.join(row.reasons)}"
    return facts if filled.source else f"{facts}; Δ is the difference from the paper's own row"


def _rate(row: Row) -> str:
    """The measured rate, of codecs and of images made elsewhere whose rate was given."""
    rates = {
        record.task: cell.value
        for record in row.records
        if (cell := record.metrics.get("bpp")) is not None and cell.value is not None
    }
    of = " of {}" if len(rates) > 1 else ""
    return ", ".join(f"{rate:.4g} bpp{of.format(task)}" for task, rate in rates.items())


def _empty_cells(filled: Filled, rows: Sequence[Row]) -> list[str]:
    """Why cells are empty, a reason once: '[1], [2] — rFID; [3] — rFID, PSNR: not asked for'."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        empty: dict[str, list[str]] = {}
        for measure, cell in zip(filled.measures, row.cells, strict=True):
            if cell.value is None and cell.task:
                empty.setdefault(cell.status, []).append(measure.heading)
        for why, names in empty.items():
            of_names = reasons.setdefault(why, {}).setdefault(", ".join(names), [])
            of_names.append(f"[{row.number}]")
    return [
        "; ".join(f"{', '.join(of)} {NOTHING} {names}" for names, of in where.items()) + f": {why}"
        for why, where in reasons.items()
    ]


def label(row: Row) -> str:
    """What stands first in a row: the name with its citation, or its footnote and a mark."""
    if not row.measured:
        return row.label + ("" if row.citation is None else f" [{row.citation}]")
    return f"{row.label} (measured [{row.number}]{', ≠' if row.reasons else ''})"


def spanned_headings(filled: Filled) -> list[str]:
    """Column headings with the name of their block in front, for formats without merged cells."""
    names = [name for name, width in filled.spans for _ in range(width)]
    names = names or [""] * len(filled.measures)
    return [
        f"{name} {heading(measure)}".strip()
        for name, measure in zip(names, filled.measures, strict=True)
    ]


def _cells(
    filled: Filled,
    row: Row,
    escaped: Callable[[str], str],
    text: Callable[[Measure, Cell, bool], str],
    bold: Callable[[str], str],
) -> list[str]:
    """A row's label, facts and figures as a format writes them."""
    cells = [escaped(label(row)), *map(escaped, row.facts or ("",) * len(filled.facts))]
    for measure, cell in zip(filled.measures, row.cells, strict=True):
        written = text(measure, cell, row.measured)
        cells.append(bold(written) if cell.bold else written)
    return cells


def to_markdown(tables: Sequence[Filled]) -> str:
    """Tables in Markdown with their notes as lists."""
    return "\n".join(line for table in tables for line in _markdown_lines(table))


def _markdown_lines(filled: Filled) -> list[str]:
    heads = ["Method", *filled.facts, *spanned_headings(filled)]
    lines = [
        f"## {markdown(filled.name)}: {markdown(filled.title)}",
        "",
        f"| {' | '.join(map(markdown, heads))} |",
        "|---|" + "---|" * len(filled.facts) + "--:|" * len(filled.measures),
    ]
    for section in filled.sections:
        if section.heading:
            lines.append(f"| *{markdown(section.heading)}* |" + " |" * (len(heads) - 1))
        for row in section.rows:
            cells = _cells(filled, row, markdown, _markdown_cell, "**{}**".format)
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *(f"- {markdown(note)}" for note in footnotes(filled)), ""]


def _markdown_cell(measure: Measure, cell: Cell, measured: bool) -> str:
    return markdown(cell_text(measure, cell, measured))


def to_latex(tables: Sequence[Filled]) -> str:
    """`table*` environments that need the packages booktabs and graphicx."""
    return "\n".join(line for table in tables for line in _latex_lines(table))


def _latex_lines(filled: Filled) -> list[str]:
    width = 1 + len(filled.facts) + len(filled.measures)
    lines = [
        "\\begin{table*}",
        "\\centering",
        f"\\caption{{{latex(filled.title)} ({latex(_cited(filled))}).}}",
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
            cells = _cells(filled, row, latex, _latex_cell, "\\textbf{{{}}}".format)
            lines.append(" & ".join(cells) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}}", "\\par\\smallskip\\footnotesize\\raggedright"]
    lines += [f"{latex(note)}\\par" for note in footnotes(filled)]
    return [*lines, "\\end{table*}", ""]


def _cited(filled: Filled) -> str:
    return filled.source or f"Tab. {filled.number} of the paper"


def _latex_cell(measure: Measure, cell: Cell, measured: bool) -> str:
    """Value and difference above the interval, so that wide tables stay on the page."""
    value, interval, delta = map(latex, cell_parts(measure, cell, measured))
    head = " ".join(filter(None, (value, delta)))
    return f"\\shortstack[r]{{{head}\\\\{{\\tiny {interval}}}}}" if interval else head


def to_csv(tables: Sequence[Filled]) -> str:
    """One line a figure, printed or measured, unrounded; shares are shares."""
    return rows_as_csv(_rows(tables))


def to_json(tables: Sequence[Filled]) -> str:
    """The rows of `to_csv` as a list of tables of the same keys."""
    return json.dumps(_rows(tables), indent=2, ensure_ascii=False) + "\n"


def _rows(tables: Sequence[Filled]) -> list[dict[str, object]]:
    return [row for table in tables for row in _rows_of(table)]


def _rows_of(filled: Filled) -> Iterator[dict[str, object]]:
    headings = spanned_headings(filled)
    printed = "published" if filled.source else "paper"
    for section in filled.sections:
        for row in section.rows:
            by_task = {record.task: record for record in row.records}
            for name, measure, cell in zip(headings, filled.measures, row.cells, strict=True):
                if cell.value is None and not cell.task:
                    continue
                record = by_task.get(cell.task)
                why = cell.status if cell.value is None else "; ".join(row.reasons)
                yield {
                    "table": filled.number,
                    "section": section.heading,
                    "row": row.label,
                    "kind": "measured" if row.measured else printed,
                    "column": name,
                    "metric": measure.metric,
                    "value": cell.value,
                    "ci_low": cell.ci_low,
                    "ci_high": cell.ci_high,
                    "delta": cell.delta,
                    "comparable": "" if not row.measured else "no" if row.reasons else "yes",
                    "why": why if row.measured else "",
                    "task": cell.task,
                    "protocol": record and record.protocol,
                    "n": record and record.n,
                    "run_id": record and record.run_id,
                }


def to_html(tables: Sequence[Filled]) -> str:
    """One page without outside parts."""
    write = (cell_text, footnotes, heading, label, one_line)
    return render("tables.html.j2", tables=tables, **{each.__name__: each for each in write})


def to_plain(tables: Sequence[Filled]) -> str:
    """Columns of text as wide as they are."""
    text = io.StringIO()
    console = terminal(form=Format.PLAIN, file=text)
    for filled in tables:
        show(console, filled, Format.PLAIN)
    return text.getvalue()


WRITERS: Mapping[str, Callable[[Sequence[Filled]], str]] = {
    "md": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "html": to_html,
    "json": to_json,
    "plain": to_plain,
}


def show(console: Console, filled: Filled, form: Format | None = None) -> None:
    """Print a table and its notes; one that is too wide comes in parts, a few columns each."""
    console.print(f"{filled.name}: {filled.title}", style="italic", markup=False, soft_wrap=True)
    for part in _parts(console, filled):
        print_table(console, part, form)
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
            name, *cells = _cells(filled, row, _one_line, _terminal_cell, "[bold]{}[/bold]".format)
            facts_of, figures = cells[: len(filled.facts)], cells[len(filled.facts) :]
            known = facts_of if facts else []
            shown = [figures[place] for place in columns]
            table.add_row(name, *known, *shown, style="bold cyan" if row.measured else "")
    return table


def _one_line(text: str) -> str:
    return escape(one_line(text))


def _terminal_cell(measure: Measure, cell: Cell, measured: bool) -> str:
    """With the interval below its value."""
    return escape(cell_text(measure, cell, measured).replace(" [", "\n["))
