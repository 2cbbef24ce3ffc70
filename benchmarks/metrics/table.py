"""The measured lines as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.metrics.memory import MemoryLine
from benchmarks.metrics.rounds import Line

_MARKS = {True: "yes", False: "**no**", None: ""}


def time_table(lines: Sequence[Line]) -> str:
    """A line for every claim."""
    rows = [
        (
            f"{line.claim.label}, per {line.unit}",
            line.claim.peer,
            str(line.rounds),
            _milliseconds(line.ours),
            _milliseconds(line.peer),
            f"{line.ratio:.2f}",
            "" if line.claim.goal is None else f"{line.claim.goal:g}",
            _MARKS[line.met],
            *(
                _error(error, line.absolute)
                for error in (line.between, line.ours_off, line.peer_off)
            ),
        )
        for line in lines
    ]
    columns = (
        "row", "peer", "rounds", "ours, ms", "peer, ms", "times as fast", "goal", "met",
        "ours − peer", "ours − truth", "peer − truth",
    )  # fmt: skip
    return _markdown(columns, rows)


def memory_table(lines: Sequence[MemoryLine]) -> str:
    """Peak growth, ours and the peer's."""
    rows = [
        (
            line.label,
            f"{line.ours:.0f}",
            f"{line.peer:.0f}",
            "" if line.goal is None else f"≤ {line.goal:.0f}",
            _MARKS[line.met],
        )
        for line in lines
    ]
    return _markdown(("extra memory at the peak", "ours, MB", "peer, MB", "goal", "met"), rows)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [columns, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (columns, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _milliseconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _error(value: float | None, absolute: bool) -> str:
    if value is None:
        return "–"
    return f"{value:.0e} abs" if absolute and value else f"{value:.0e}" if value else "0"
