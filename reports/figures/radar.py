"""Scores by category as a radar: what the paper prints and what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.figures.canvas import MEASURED, OWN, NothingToDraw, new_figure, short
from reports.records import Loaded
from reports.tables.filled import Filled, Measure, Row, block_of, fill

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OVERALL = "overall"
_LEAST_AXES = 3
_OTHERS = ("#8a8f98", "#b08f5a", "#6f8f7a")
"""The best printed row of each section, as it comes."""


@dataclass(frozen=True, slots=True)
class Radar:
    """One radar: columns of a table on a common scale."""

    table: int
    blocks: tuple[str, ...]
    title: str
    most: float
    """Full marks."""
    least: float = 0.0
    """What stands in the centre; the title says it where it is not 0."""
    whole: bool = False
    """Whether the overall score is an axis of its own."""


@dataclass(frozen=True, slots=True)
class Line:
    """One model in a radar."""

    label: str
    values: Sequence[float | None]
    colour: str
    width: float


def shows(radar: Radar, task: str) -> bool:
    """Tell whether the radar is of this task alone; one of two tasks joins a model's results."""
    return len(radar.blocks) == 1 and block_of(task, fill(radar.table, []).measures) in radar.blocks


RADARS = {
    "radar-geneval": Radar(11, ("geneval",), "GenEval by category", 1.0),
    "radar-dpg": Radar(11, ("dpg",), "DPG-Bench by category", 100.0, 50.0),
    "radar-gedit": Radar(13, ("gedit-en", "gedit-cn"), "GEdit-Bench", 10.0, whole=True),
}


def draw(radar: Radar, records: Sequence[Loaded], headline: str = "") -> Figure:
    """The paper's own row, the best printed one of each section, and every measured row."""
    filled = fill(radar.table, records)
    columns = [index for index, each in enumerate(filled.measures) if each.table in radar.blocks]
    places = [
        index
        for index in columns
        if radar.whole or not filled.measures[index].metric.endswith(OVERALL)
    ]
    names = [_name(filled.measures[place], radar) for place in places]
    lines = [
        Line(
            short(row.label) + _kind(row),
            [row.cells[place].value for place in places],
            colour,
            width,
        )
        for row, colour, width in _rows(filled, columns, places)
    ]
    return _web(radar.title, radar.least, radar.most, names, lines, headline)


def draw_groups(records: Sequence[Loaded]) -> Figure:
    """GEdit-Bench's overall score by kind of edit, of each run of it; the paper prints none.

    Raises:
        NothingToDraw: No run of it with its samples is there.
    """
    from reports.samples import read_samples

    means: list[tuple[Loaded, dict[str, float]]] = []
    for loaded in records:
        if loaded.root is None or not loaded.record.task.startswith("gedit"):
            continue
        rows = read_samples(loaded)
        if "group" not in rows.texts or "overall" not in rows.columns:
            continue
        values = rows.columns["overall"]
        by_group: dict[str, list[float]] = {}
        for group, value in zip(rows.texts["group"], values.tolist(), strict=True):
            if group and math.isfinite(value):
                by_group.setdefault(group, []).append(value)
        means.append((loaded, {name: sum(each) / len(each) for name, each in by_group.items()}))
    names = sorted({name for _, groups in means for name in groups})
    if len(names) < _LEAST_AXES:
        raise NothingToDraw(
            f"runs of GEdit-Bench have {len(names)} kinds of edits, a radar needs {_LEAST_AXES}: "
            "give --runs DIR with run directories"
        )
    lines = [
        Line(
            f"{short(loaded.record.model)} ({loaded.record.task})",
            [groups.get(name) for name in names],
            MEASURED[index % len(MEASURED)],
            2.0,
        )
        for index, (loaded, groups) in enumerate(means)
    ]
    titles = [name.replace("_", "\n").replace("-", "\n") for name in names]
    return _web("GEdit-Bench, G_O by kind of edit", 0.0, 10.0, titles, lines)


def _web(
    title: str,
    least: float,
    most: float,
    names: Sequence[str],
    lines: Sequence[Line],
    headline: str = "",
) -> Figure:
    """The figure: an axis a name, a closed line a model; a gap where a value is missing."""
    from matplotlib.projections.polar import PolarAxes

    figure = new_figure(5.6, 6.0, headline)
    axes = figure.add_subplot(projection="polar")
    assert isinstance(axes, PolarAxes)
    angles = [2 * math.pi * index / len(names) for index in range(len(names))]
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_ylim(least, most)
    rings = [least + (most - least) * number / 5 for number in range(1, 6)]
    axes.set_yticks(rings, [f"{ring:g}" for ring in rings], fontsize=6.5, color="#777777")
    axes.set_rlabel_position(math.degrees(angles[1]) / 2)
    axes.set_xticks(angles, names, fontsize=8)
    axes.tick_params(axis="x", pad=12)
    axes.spines["polar"].set_color("#cccccc")
    centre = "" if least == 0 else f", centre = {least:g}"
    axes.set_title(f"{title}{centre}", pad=18, loc="center")
    for line in lines:
        shown = [math.nan if value is None else max(value, least) for value in line.values]
        closed = (*angles, angles[0]), (*shown, shown[0])
        axes.plot(*closed, color=line.colour, lw=line.width, marker="o", ms=3, label=line.label)
        if None not in line.values:
            axes.fill(angles, shown, color=line.colour, alpha=0.07, lw=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, fontsize=7.5)
    return figure


def _kind(row: Row) -> str:
    if not row.measured:
        return ""
    return " (measured, ≠ paper's)" if row.reasons else " (measured)"


def _rows(
    filled: Filled, columns: Sequence[int], places: Sequence[int]
) -> list[tuple[Row, str, float]]:
    """Rows to draw with colour and line width, the most important last and so on top.

    Of other models the one with the best overall score whose categories are all printed.
    """
    overall = columns[-1]
    own, others, measured = [], [], []
    for section in filled.sections:
        rows = section.rows
        measured += [
            row
            for row in rows
            if row.measured and any(row.cells[place].value is not None for place in places)
        ]
        whole = [row for row in rows if all(row.cells[c].value is not None for c in columns)]
        own += [row for row in whole if row.ours]
        if rest := [row for row in whole if not row.ours and not row.measured]:
            others.append(max(rest, key=lambda row: row.cells[overall].value or 0.0))
    return [
        *((row, _OTHERS[index % len(_OTHERS)], 1.1) for index, row in enumerate(others)),
        *((row, OWN, 2.0) for row in own),
        *((row, MEASURED[index % len(MEASURED)], 2.0) for index, row in enumerate(measured)),
    ]


def _name(measure: Measure, radar: Radar) -> str:
    if len(radar.blocks) == 1:
        return measure.heading
    return f"{measure.heading}\n{measure.table.rpartition('-')[2].upper()}"
