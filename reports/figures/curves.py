"""Curves of several trainings in one picture, a panel for each value that was logged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, islice, product
from typing import TYPE_CHECKING

from harness.interfaces.errors import UserError, did_you_mean
from reports.figures.canvas import MEASURED, NothingToDraw, new_figure, short, style
from reports.training import Curve, Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AFTER_LOSSES = ("gradient_norm", "learning_rate", "mfu", "data_wait")
_THROUGHPUT = "_per_second"
_LEFT_OUT = ("seconds_per_step", "epoch", "unreadable", "samples/", "epochs/")
"""Beginnings of what is drawn only where it is asked for: it is known or follows from another."""
_VALIDATION = "validation/"
_LINES = ("-", "--", ":", "-.")
_MOST = len(MEASURED) * len(_LINES)
_COLUMNS = 4
_WIDTH, _HEIGHT = 3.1, 2.2
"""Inches of a panel."""
_SPREAD = 50
"""A loss whose largest value is so many times its smallest gets a logarithmic axis."""


def training_curves(trainings: Sequence[Training], names: Sequence[str] = ()) -> Figure:
    """Draw losses, then what steps cost, then validations; a run has one colour in all panels.

    Args:
        trainings: The runs.
        names: Curves to draw, in this order; if none, all that are worth a panel.

    Raises:
        UserError: A named curve is in no run, or runs are more than can be told apart.
    """
    if len(trainings) > _MOST:
        raise UserError(f"{len(trainings)} trainings in one picture: give {_MOST} or fewer")
    logged = list(dict.fromkeys(name for run in trainings for name in run.curves))
    for name in names:
        if name not in logged:
            raise UserError(f"--curve {name}: {did_you_mean(name, logged)}")
    shown = list(dict.fromkeys(names)) or sorted(filter(_worth, logged), key=_rank)
    if not shown:
        raise NothingToDraw("no run has logged a loss or a validation")
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    looks = list(islice(cycle(product(_LINES, MEASURED)), len(trainings)))
    with style():
        figure = new_figure(_WIDTH * columns, _HEIGHT * rows + 0.5)
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for name, axes in zip(shown, panels, strict=False):
            curves = [run.curves.get(name, []) for run in trainings]
            for curve, (line, colour) in zip(curves, looks, strict=True):
                _draw(axes, curve, line, colour, dots=name.startswith(_VALIDATION))
            if _rank(name) <= _rank("gradient_norm"):
                _scale(axes, curves)
            axes.set_title(name.replace("_", " ").replace("/", " "))
            axes.set_xlabel("step", fontsize=8)
            axes.tick_params(labelsize=8)
            axes.xaxis.get_major_locator().set_params(integer=True)
        for axes in panels:
            axes.set_axis_off()
        _name_runs(figure, trainings, looks, columns)
    return figure


def _worth(name: str) -> bool:
    return not name.startswith(_LEFT_OUT)


def _rank(name: str) -> int:
    """Sort losses first, of them the whole loss, and validations last; others stay as logged."""
    if name == "loss":
        return 0
    if name.startswith(_VALIDATION):
        return 4 + len(_AFTER_LOSSES)
    if name.endswith(_THROUGHPUT):
        return 3 + len(_AFTER_LOSSES)
    return 2 + _AFTER_LOSSES.index(name) if name in _AFTER_LOSSES else 1


def _draw(axes: Axes, curve: Curve, line: str, colour: str, *, dots: bool) -> None:
    if curve:
        marker = "o" if dots or len(curve) == 1 else ""
        axes.plot(*zip(*curve, strict=True), ls=line, marker=marker, ms=3, lw=1.2, color=colour)


def _scale(axes: Axes, curves: Sequence[Curve]) -> None:
    values = [value for curve in curves for _, value in curve]
    if min(values) > 0 and max(values) > _SPREAD * min(values):
        axes.set_yscale("log")


def _name_runs(
    figure: Figure,
    trainings: Sequence[Training],
    looks: Sequence[tuple[str, str]],
    columns: int,
) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], ls=line, color=colour, lw=1.6) for line, colour in looks]
    names = [short(run.name) for run in trainings]
    figure.legend(lines, names, loc="outside upper left", ncols=min(len(lines), 2 * columns))
