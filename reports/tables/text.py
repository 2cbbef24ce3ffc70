"""What the formats of a table share: the texts of its cells and its footnotes."""

from __future__ import annotations

from reports.tables.filled import Cell, Filled, Measure, Row

MISSING = "—"


def heading(measure: Measure) -> str:
    """The column's heading with its better direction."""
    return f"{measure.heading} {'↑' if measure.higher_is_better else '↓'}"


def cell_text(measure: Measure, cell: Cell, *, measured: bool) -> str:
    """The value; of a measured one also interval and difference from the paper's own row."""
    return " ".join(filter(None, cell_parts(measure, cell, measured=measured)))


def cell_parts(measure: Measure, cell: Cell, *, measured: bool) -> tuple[str, str, str]:
    """Value, interval and difference, each empty where there is none."""
    if cell.value is None:
        return MISSING, "", ""
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
    lines = []
    for section in filled.sections:
        for row in section.rows:
            if row.measured:
                lines.append(_measured_note(row))
                lines += _empty_cells(filled, row)
    for section in filled.sections:
        for row in section.rows:
            if row.note:
                where = f" ({section.heading})" if section.heading else ""
                lines.append(f"{row.label}{where}: {row.note}")
    return lines + list(filled.notes)


def _measured_note(row: Row) -> str:
    facts = f"[{row.number}] {row.label}: protocol {row.protocols}, n {row.n}, " + ", ".join(
        f"run {run_id}" for run_id in row.run_ids
    )
    if row.reasons:
        return f"{facts}; not comparable with the paper: {'; '.join(row.reasons)}"
    return f"{facts}; Δ is the difference from the paper's own row"


def _empty_cells(filled: Filled, row: Row) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for measure, cell in zip(filled.measures, row.cells, strict=True):
        if cell.value is None and cell.task:
            reasons.setdefault(cell.status, []).append(measure.heading)
    return [f"[{row.number}] {MISSING} {', '.join(names)}: {why}" for why, names in reasons.items()]


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
