"""Quality against what it costs: bits per pixel (Tab. 8) and tokens seen in training (Tab. 9)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.interfaces.errors import UserError, did_you_mean
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
from reports.tables.codes import Codes
from reports.tables.filled import Cell, Row, fill

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RATE_TABLE, COST_TABLE = 8, 9
_PIXELS = 256 * 256
_PANELS = (("rfid", "rFID ↓"), ("psnr", "PSNR (dB) ↑"))
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_MARKS = {"continuous": "D", "discrete": "o"}


def draw_rates(records: Sequence[Loaded], title: str = "") -> Figure:
    """Both panels: what the paper prints and every measured run with a rate."""
    own = _rows(RATE_TABLE, records)
    figure = new_figure(9.6, 4.3, title)
    panels = figure.subplots(1, 2)
    for axes, (metric, heading) in zip(panels, _PANELS, strict=True):
        points = _measured_rates(axes, own, metric) + _printed_rates(axes, metric)
        _continuous(axes, own, metric)
        axes.set(xlabel="bits per pixel", ylabel=heading, title=heading.split()[0])
        axes.margins(x=0.18, y=0.1)
        place_labels(axes, points)
    marks = "■ measured, with 95% intervals; hollow: does not compare with the paper   " * bool(own)
    printed = f"● printed in Tab. {RATE_TABLE}, at tokens x log2(codebook) / 65,536 bits per pixel"
    figure.supxlabel(f"{marks}{printed}", fontsize=7, color="#555555")
    return figure


def printed_rate(row: dict[str, Any]) -> float:
    """Bits per pixel that follow from a printed row's tokens and codebook."""
    tokens = math.prod(int(side) for side in str(row["tokens"]).split("x"))
    power = re.fullmatch(r"2\^(\d+)", row["codebook"])
    bits = int(power[1]) if power else math.log2(int(row["codebook"]))
    return tokens * bits / _PIXELS


def _printed_rates(axes: Axes, metric: str) -> list[Point]:
    shown = [row for row in load_table(RATE_TABLE)["rows"] if metric in row["values"]]
    names = [row["method"] for row in shown]
    points = []
    for row in sorted(shown, key=lambda row: not row.get("ours")):
        ours, name = bool(row.get("ours")), row["method"]
        point = Point(
            printed_rate(row),
            row["values"][metric],
            name if names.count(name) == 1 else f"{name} {row['codebook']}",
            OWN if ours else PAPER,
            needed=ours,
        )
        axes.plot(point.x, point.y, "*" if ours else "o", color=point.colour, ms=11 if ours else 4)
        points.append(point)
    return points


def _measured_rates(axes: Axes, rows: Sequence[Row], metric: str) -> list[Point]:
    points = []
    for index, row in enumerate(rows):
        record = row.records[0]
        rate, cell = record.metrics.get("bpp"), record.metrics.get(metric)
        if rate is None or cell is None or rate.value is None or cell.value is None:
            continue
        if Codes.of(record).continuous:
            continue
        colour = MEASURED[index % len(MEASURED)]
        spans = span_of(rate), span_of(cell)
        point = Point(rate.value, cell.value, short(row.label), colour, True, *spans)
        points.append(measured(axes, point, hollow=bool(row.reasons)))
    return points


def _continuous(axes: Axes, rows: Sequence[Row], metric: str) -> None:
    """Models with continuous latents: lines across, for their rate is that of a dtype."""
    for index, row in enumerate(rows):
        record = row.records[0]
        dtype, rate = Codes.of(record).continuous, record.value("bpp")
        cell = record.metrics.get(metric)
        if not dtype or cell is None or cell.value is None:
            continue
        name = f"{short(row.label)}, continuous {dtype}"
        name += "" if rate is None else f", {rate:.3g} bpp"
        line = Cell(cell.value, cell.ci_low, cell.ci_high)
        _line(axes, line, name, MEASURED[index % len(MEASURED)])


def check_costs(records: Sequence[Loaded], costs: Mapping[str, float]) -> None:
    """Raise `UserError` where a cost is of a model that is not measured."""
    names = {row.label for row in _costed(records)}
    if unknown := sorted(set(costs) - names):
        raise UserError(
            f"--train-tokens {unknown[0]}: no run with a gFID is of this model, "
            f"{did_you_mean(unknown[0], names)}"
        )


def draw_costs(records: Sequence[Loaded], costs: Mapping[str, float], title: str = "") -> Figure:
    """FID over training tokens; a measured run without a known cost is a line across.

    Args:
        records: Results; those of class-conditional generation are drawn.
        costs: Training tokens by model, as result records call it.
        title: The headline; empty for none.
    """
    own = _costed(records)
    figure = new_figure(7.2, 4.6, title)
    axes = figure.subplots()
    axes.set_xscale("log")
    points = _measured_costs(axes, own, costs) + _printed_costs(axes)
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


def _printed_costs(axes: Axes) -> list[Point]:
    points = []
    for row in sorted(load_table(COST_TABLE)["rows"], key=lambda row: not row.get("ours")):
        value = row["values"].get("gfid")
        if value is None or not row.get("train_tokens"):
            continue
        ours = bool(row.get("ours"))
        cost, colour = tokens_of(row["train_tokens"]) / 1e9, OWN if ours else PAPER
        mark = "*" if ours else _MARKS[row["group"]]
        axes.plot(cost, value, mark, color=colour, ms=11 if ours else 4.5)
        points.append(Point(cost, value, row["method"], colour, needed=ours))
    return points


def _measured_costs(axes: Axes, rows: Sequence[Row], costs: Mapping[str, float]) -> list[Point]:
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


def _costed(records: Sequence[Loaded]) -> list[Row]:
    """The measured rows with a FID."""
    return [row for row in _rows(COST_TABLE, records) if row.cells[0].value is not None]


def _rows(table: int, records: Sequence[Loaded]) -> list[Row]:
    """The measured rows of a table."""
    sections = fill(table, records).sections
    return [row for section in sections for row in section.rows if row.measured]
