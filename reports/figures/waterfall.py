"""What each choice moves a figure by, as bars from the figure that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.commands.console import label
from reports.explain.ladder import Explanation, Step
from reports.figures.canvas import MEASURED, OWN, PAPER, new_figure
from reports.text import heading, number, shows, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 16


def draw_waterfall(found: Explanation) -> Figure:
    """A bar a choice, in the order of the table; the published figure as a line."""
    start = found.base.value or 0.0
    steps = [step for step in found.ranked if shows(found.metric, step.moves)][:_MOST]
    figure = new_figure(8.2, 1.5 + 0.27 * max(len(steps), 2))
    axes = figure.subplots()
    axes.axvline(start, color=OWN, lw=1.4, zorder=3)
    for row, step in enumerate(steps):
        _bar(axes, found.metric, row, start, step)
    axes.set_yticks(range(len(steps)), [step.name for step in steps], fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.16)
    note = f"line: {found.protocol}; grey: other protocols, fewer images"
    if found.published is not None:
        axes.axvline(found.published, color=MEASURED[0], lw=1.4, ls="--", zorder=3)
        note += f"; dashed: published, {number(found.metric, found.published)}"
    axes.set(
        xlabel=f"{heading(found.metric, found.base.higher_is_better)}\n{note}",
        title=f"{label(found.metric).title}: what moves {number(found.metric, start)}",
    )
    return figure


def _bar(axes: Axes, key: str, row: int, start: float, step: Step) -> None:
    moves = step.moves or 0.0
    choice = step.kind == "choice"
    axes.barh(row, moves, left=start, height=0.62, color=MEASURED[4] if choice else PAPER)
    if step.moves_low is not None and step.moves_high is not None:
        arms = [[max(0.0, moves - step.moves_low)], [max(0.0, step.moves_high - moves)]]
        axes.errorbar(start + moves, row, xerr=arms, color="#333333", capsize=2, lw=0.9, fmt="none")
    rises = moves > 0
    end = max(moves, step.moves_high or moves) if rises else min(moves, step.moves_low or moves)
    axes.annotate(
        signed(key, moves),
        (start + end, row),
        xytext=(4 if rises else -4, 0),
        textcoords="offset points",
        ha="left" if rises else "right",
        va="center",
        fontsize=7,
    )
