"""Training cost against quality: tokens seen in training and FID, Table 9 and runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.interfaces.errors import UserError
from harness.interfaces.registry import did_you_mean
from reports.figures.canvas import (
    MEASURED,
    OWN,
    PAPER,
    Point,
    measured,
    new_figure,
    place_labels,
    short,
    span_of,
)
from reports.paper import load_table
from reports.records import Loaded
from reports.tables.filled import Cell, Row, fill

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TABLE = 9
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_MARKS = {"continuous": "D", "discrete": "o"}


def draw(records: Sequence[Loaded], costs: Mapping[str, float]) -> Figure:
    """FID over training tokens; a measured run without a known cost is a line across.

    Args:
        records: Results; those of class-conditional generation are drawn.
        costs: Training tokens by model, as result records call it.

    Raises:
        UserError: A cost is of a model that is not measured.
    """
    table = load_table(_TABLE)
    rows = [row for section in fill(_TABLE, records).sections for row in section.rows]
    own = [row for row in rows if row.measured and row.cells[0].value is not None]
    names = {row.label for row in own}
    if unknown := sorted(set(costs) - names):
        raise UserError(
            f"--train-tokens {unknown[0]}: no run with a gFID is of this model, "
            f"{did_you_mean(unknown[0], names)}"
        )
    figure = new_figure(7.2, 4.6)
    axes = figure.subplots()
    axes.set_xscale("log")
    points = _measured(axes, own, costs) + _printed(axes, table["rows"])
    axes.set(xlabel="training tokens (billions)", ylabel="FID ↓", title="FID and training cost")
    axes.margins(x=0.12, y=0.08)
    ticks = [10, 20, 50, 100, 200, 500]
    low, high = axes.get_xlim()
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    place_labels(axes, points)
    _legend(axes, measured_too=bool(own))
    return figure


def tokens_of(text: str) -> float:
    """Read '33B' or '2.5e9'; raise `UserError` for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:[eE]\+?\d+)?)\s*([KMBT]?)\s*", text)
    if match is None or float(match[1]) == 0:
        raise UserError(f"training tokens {text!r} are no number such as 33B or 2.5e9")
    return float(match[1]) * _UNITS[match[2]]


def _printed(axes: Axes, rows: Sequence[dict[str, Any]]) -> list[Point]:
    points = []
    for row in sorted(rows, key=lambda row: not row.get("ours")):
        value = row["values"].get("gfid")
        if value is None or not row.get("train_tokens"):
            continue
        ours = bool(row.get("ours"))
        cost, colour = tokens_of(row["train_tokens"]) / 1e9, OWN if ours else PAPER
        mark = "*" if ours else _MARKS[row["group"]]
        axes.plot(cost, value, mark, color=colour, ms=11 if ours else 4.5)
        points.append(Point(cost, value, row["method"], colour, needed=ours))
    return points


def _measured(axes: Axes, rows: Sequence[Row], costs: Mapping[str, float]) -> list[Point]:
    points = []
    for index, row in enumerate(rows):
        cell, colour = row.cells[0], MEASURED[index % len(MEASURED)]
        if cell.value is None:
            continue
        name = f"{short(row.label)} (measured{', ≠' if row.reasons else ''})"
        cost = costs.get(row.label)
        if cost is None:
            _line(axes, cell, f"{name}, cost not given", colour)
        else:
            point = Point(cost / 1e9, cell.value, name, colour, True, None, span_of(cell))
            points.append(measured(axes, point, hollow=bool(row.reasons)))
    return points


def _line(axes: Axes, cell: Cell, text: str, colour: str) -> None:
    """A result of unknown cost: its value and interval right across."""
    axes.axhline(cell.value or 0.0, color=colour, lw=1.2, ls="--")
    if (span := span_of(cell)) is not None:
        axes.axhspan(*span, color=colour, alpha=0.12, lw=0)
    axes.annotate(
        text,
        (0.01, cell.value or 0.0),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=7,
        color=colour,
    )


def _legend(axes: Axes, *, measured_too: bool) -> None:
    from matplotlib.lines import Line2D

    marks = [
        ("UniWeTok, printed", "*", OWN),
        ("continuous tokens, printed", _MARKS["continuous"], PAPER),
        ("discrete tokens, printed", _MARKS["discrete"], PAPER),
    ]
    marks += [("measured, 95% interval; ≠ does not compare", "s", MEASURED[0])] * measured_too
    handles = [
        Line2D([], [], marker=mark, color=colour, ls="", ms=9 if mark == "*" else 5, label=text)
        for text, mark, colour in marks
    ]
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize=7
    )
