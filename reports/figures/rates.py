"""Rate and distortion: bits per pixel against rFID and PSNR at 256x256, Table 8 and runs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
from reports.tables.filled import Row, fill

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TABLE = 8
_PIXELS = 256 * 256
_PANELS = (("rfid", "rFID ↓"), ("psnr", "PSNR (dB) ↑"))


def draw(records: Sequence[Loaded]) -> Figure:
    """Both panels: what the paper prints and every measured run with a rate."""
    table = load_table(_TABLE)
    rows = [row for section in fill(_TABLE, records).sections for row in section.rows]
    own = [row for row in rows if row.measured]
    figure = new_figure(9.6, 4.3)
    panels = figure.subplots(1, 2)
    for axes, (metric, title) in zip(panels, _PANELS, strict=True):
        points = _measured(axes, own, metric) + _printed(axes, table["rows"], metric)
        axes.set(xlabel="bits per pixel", ylabel=title, title=title.split()[0])
        axes.margins(x=0.18, y=0.1)
        place_labels(axes, points)
    marks = "■ measured, with 95% intervals; hollow: does not compare with the paper   " * bool(own)
    figure.supxlabel(
        f"{marks}● printed in Tab. {_TABLE}, at tokens x log2(codebook) / 65,536 bits per pixel",
        fontsize=7,
        color="#555555",
    )
    return figure


def printed_rate(row: dict[str, Any]) -> float:
    """Bits per pixel that follow from a printed row's tokens and codebook."""
    tokens = math.prod(int(side) for side in str(row["tokens"]).split("x"))
    power = re.fullmatch(r"2\^(\d+)", row["codebook"])
    bits = int(power[1]) if power else math.log2(int(row["codebook"]))
    return tokens * bits / _PIXELS


def _printed(axes: Axes, rows: Sequence[dict[str, Any]], metric: str) -> list[Point]:
    shown = [row for row in rows if metric in row["values"]]
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


def _measured(axes: Axes, rows: Sequence[Row], metric: str) -> list[Point]:
    points = []
    for index, row in enumerate(rows):
        record = row.records[0]
        rate, cell = record.metrics.get("bpp"), record.metrics.get(metric)
        if rate is None or cell is None or rate.value is None or cell.value is None:
            continue
        colour = MEASURED[index % len(MEASURED)]
        spans = span_of(rate), span_of(cell)
        point = Point(rate.value, cell.value, short(row.label), colour, True, *spans)
        points.append(measured(axes, point, hollow=bool(row.reasons)))
    return points
