"""How a figure changes with the size of what is looked at: heights of text, sides of faces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.figures.canvas import MEASURED, NothingToDraw, new_figure, short, span_of
from reports.records import Loaded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.interfaces.types import MetricValue, ResultRecord

_LINES = ("-", "--", ":", "-.")


def draw(
    records: Sequence[Loaded],
    metric: str,
    *,
    title: str,
    along: str,
    scale: float = 1,
    headline: str = "",
) -> Figure:
    """A line a model through the classes of size of a metric, as `cer_12_16`.

    Args:
        records: Results; those that have such classes are drawn.
        metric: What the classes' names begin with.
        title: What the metric says.
        along: What the sizes are of.
        scale: What values are multiplied by, 100 for percentages.
        headline: What stands over it; empty for nothing.
    """
    rows = {loaded.record.run_id: classes(loaded.record, metric) for loaded in records}
    shown = [loaded.record for loaded in records if rows[loaded.record.run_id]]
    if not shown:
        raise NothingToDraw(f"no run has {metric} by size")
    edges = sorted({edge for sizes in rows.values() for edge in sizes})
    figure = new_figure(6.4, 3.8, headline)
    axes = figure.subplots()
    for index, record in enumerate(shown):
        sizes = sorted(rows[record.run_id].items())
        points = [(edges.index(edge), cell) for edge, cell in sizes]
        # Side by side, so that intervals of models that are alike stay apart.
        shift = 0.06 * (index - (len(shown) - 1) / 2)
        values = [scale * float(cell.value or 0) for _, cell in points]
        spans = [span_of(cell) or (cell.value or 0, cell.value or 0) for _, cell in points]
        arms = [
            [value - scale * low for value, (low, _) in zip(values, spans, strict=True)],
            [scale * high - value for value, (_, high) in zip(values, spans, strict=True)],
        ]
        axes.errorbar(
            [place + shift for place, _ in points],
            values,
            yerr=arms,
            marker="o",
            ms=4,
            lw=1.4,
            capsize=2,
            ls=_LINES[index // len(MEASURED) % len(_LINES)],
            color=MEASURED[index % len(MEASURED)],
            label=short(record.model),
        )
    axes.set_xticks(range(len(edges)), [_words(edge) for edge in edges])
    axes.set(xlabel=f"{along}, pixels", title=title)
    figure.legend(loc="outside right upper")
    return figure


def classes(record: ResultRecord, metric: str) -> dict[tuple[int, int], MetricValue]:
    """What a record has of the metric, by least and greatest size; 0 where there is no greatest."""
    found = {}
    for name, cell in record.metrics.items():
        ends = re.fullmatch(rf"{re.escape(metric)}_(\d+)_(\d+|up)", name)
        if ends and cell.value is not None:
            found[int(ends[1]), int(ends[2].replace("up", "0"))] = cell
    return found


def _words(edge: tuple[int, int]) -> str:
    least, greatest = edge
    if not greatest:
        return f"{least}+"
    return f"{least}-{greatest}" if least else f"<{greatest}"
