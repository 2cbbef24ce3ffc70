"""Curves of quality over rate, a panel for each metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harness.interfaces.errors import UserError
from reports.figures.canvas import MEASURED, Point, measured, new_figure, short, span_of, style
from reports.sweep.bjontegaard import Curve
from reports.sweep.curves import RATE, Family, Sweep
from reports.text import heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_MARKS = ("-", "--", ":")
_MOST = len(MEASURED) * len(_MARKS)


def rate_curves(sweep: Sweep) -> Figure:
    """Points with 95% intervals and the curves through them; a family has one colour throughout.

    Raises:
        UserError: Models are more than can be told apart.
    """
    from matplotlib.lines import Line2D

    if len(sweep.families) > _MOST:
        raise UserError(f"{len(sweep.families)} models in one picture: give {_MOST} or fewer")
    columns = min(_COLUMNS, len(sweep.metrics))
    rows = math.ceil(len(sweep.metrics) / columns)
    looks = [(line, colour) for line in _MARKS for colour in MEASURED][: len(sweep.families)]
    with style():
        figure = new_figure(3.4 * columns, 2.9 * rows + 0.5)
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for (metric, better), axes in zip(sweep.metrics.items(), panels, strict=False):
            for family, (line, colour) in zip(sweep.families, looks, strict=True):
                _draw(axes, family, metric, sweep, line, colour)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set(xlabel="bits per pixel", title=heading(metric, better))
        for axes in panels:
            axes.set_axis_off()
        lines = [
            Line2D([], [], ls=line if len(each.runs) > 1 else "", marker="s", ms=4, color=colour)
            for each, (line, colour) in zip(sweep.families, looks, strict=True)
        ]
        names = [short(each.name) for each in sweep.families]
        figure.legend(lines, names, loc="outside upper left", ncols=min(len(names), 2 * columns))
    return figure


def _draw(axes: Axes, family: Family, metric: str, sweep: Sweep, line: str, colour: str) -> None:
    cells = [(run.record.metrics[RATE], run.record.metrics.get(metric)) for run in family.runs]
    points = [
        Point(rate.value, cell.value, "", colour, False, span_of(rate), span_of(cell))
        for rate, cell in cells
        if rate.value is not None and cell is not None and cell.value is not None
    ]
    for point in points:
        measured(axes, point, hollow=False)
    if len(points) < len(family.runs):
        return
    rates = np.log([point.x for point in points])
    fit = Curve(rates, np.array([point.y for point in points]), sweep.method).over_rate[0]
    if fit is not None:
        steps = np.linspace(rates[0], rates[-1], 200)
        axes.plot(np.exp(steps), fit(steps), ls=line, color=colour, lw=1.4)
