"""The paper's rivals as a document, from their data: `python -m tests.reports.rivals_document`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from reports.paper import load_table
from reports.rivals import STATUSES, Rival, load_rivals
from reports.tables.filled import COMPARISONS

DOCUMENT = Path(__file__).parents[2] / "docs" / "rivals.md"
BEGIN = "<!-- made by python -m tests.reports.rivals_document -->"
END = "<!-- end -->"


def summary(rivals: tuple[Rival, ...]) -> str:
    """How many rows are measured how."""
    counts = Counter(rival.status for rival in rivals)
    near = counts["command"] + counts["served"]
    whys = Counter(bool(rival.code) for rival in rivals if rival.status == "none")
    return (
        f"**{near} of {len(rivals)} by one command or a served endpoint, {counts['files']} from "
        f"files, {counts['none']} not at all**: of {whys[True]} the code is public without the "
        f"row's model, {whys[False]} are closed, withdrawn or were never released."
    )


def counts(rivals: tuple[Rival, ...]) -> str:
    """The summary's numbers by table."""
    lines = [f"| | rows | {' | '.join(STATUSES.values())} |", f"| --- |{' --- |' * 5}"]
    for number in COMPARISONS:
        mine = Counter(rival.status for rival in rivals if rival.table == number)
        cells = [str(mine[status]) for status in STATUSES]
        lines.append(f"| Table {number} | {mine.total()} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(number: int, rivals: tuple[Rival, ...]) -> str:
    """The rows of one table."""
    lines = ["| row | weights | licence | status | tasks | command |", f"|{' --- |' * 6}"]
    notes = []
    for rival in (each for each in rivals if each.table == number):
        mark = f" [{len(notes) + 1}]" if rival.note else ""
        notes += [f"[{len(notes) + 1}] {rival.name}: {rival.note}."] if rival.note else []
        command = f"`{rival.command}`" if rival.command else "—"
        lines.append(
            f"| {rival.name}{mark} | {rival.weights or '—'} | {rival.licence or '—'} | "
            f"{rival.status} | {', '.join(rival.tasks)} | {command} |"
        )
    return "\n".join([*lines, *(f"\n{note}" for note in notes)])


def section() -> str:
    """Everything between the document's markers."""
    rivals = load_rivals()
    parts = [summary(rivals), counts(rivals)]
    for number in COMPARISONS:
        parts += [f"## Table {number}: {load_table(number)['title']}", table(number, rivals)]
    return f"{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}"


def updated(document: str) -> str:
    """The document with its tables made anew."""
    begin, end = document.index(BEGIN), document.index(END) + len(END)
    return document[:begin] + section() + document[end:]


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
