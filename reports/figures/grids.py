"""Pictures of several runs side by side: reconstructions, and samples of generators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.console import label
from harness.interfaces.registry import TASKS
from reports.figures.canvas import NothingToDraw, new_figure, short
from reports.figures.datasets import by_dataset
from reports.pictures import kept_pictures, read_picture
from reports.records import Loaded

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Group = Sequence[tuple[Loaded, dict[str, Path]]]
"""Runs of one task, protocol and data set with the pictures that each kept."""
_CELL = 1.5
"""Inches of a picture's longer side."""
ORIGINAL = "identity"
"""The model whose outputs are the originals."""
_MOST = 8
"""Runs, and samples, of a figure."""
_CAPTIONS = ("psnr", "ssim")


def reconstructions(records: Sequence[Loaded]) -> dict[str, Figure]:
    """A figure for each task of reconstruction, protocol and data set: a sample a row.

    Raises:
        NothingToDraw: No run of such a task kept pictures.
    """
    return _figures(records, "a reconstruction task", reconstruction=True)


def samples(records: Sequence[Loaded]) -> dict[str, Figure]:
    """A figure for each task of generation, protocol and data set: a model a row.

    Raises:
        NothingToDraw: No run of such a task kept pictures.
    """
    return _figures(records, "a task that generates", reconstruction=False)


def _figures(records: Sequence[Loaded], task: str, *, reconstruction: bool) -> dict[str, Figure]:
    groups = _groups(records, reconstruction=reconstruction)
    if not groups:
        raise NothingToDraw(f"no run of {task} kept pictures: give --runs DIR")
    return {
        "-".join(filter(None, (name, part.end))): _grid(
            [(each, kept_pictures(each)) for each in part.records],
            part.title,
            across=reconstruction,
        )
        for name, group in groups.items()
        for part in by_dataset(group)
    }


def show_picture(axes: Axes, path: Path | None, box: Sequence[int] | None = None) -> None:
    """Draw a picture, or the part `box` (left, top, width, height) of it; a dash without one."""
    axes.set_axis_off()
    if path is None:
        axes.text(0.5, 0.5, "—", ha="center", va="center", transform=axes.transAxes)
        return
    image = read_picture(path)
    if box is not None:
        left, top, width, height = box
        image = image.crop((left, top, left + width, top + height))
    axes.imshow(image)


def _groups(records: Sequence[Loaded], *, reconstruction: bool) -> dict[str, list[Loaded]]:
    """Runs with pictures by task and protocol, originals first."""
    groups: dict[str, list[Loaded]] = {}
    for loaded in sorted(records, key=lambda each: each.record.model != ORIGINAL):
        task = loaded.record.task
        kind = TASKS.get(task).spec.kind if task in TASKS else ""
        if kind.startswith("recon") is reconstruction and kept_pictures(loaded):
            groups.setdefault(f"{task}-{loaded.record.protocol}", []).append(loaded)
    return groups


def _grid(group: Group, dataset: str, *, across: bool) -> Figure:
    """Models across and samples down, with what was measured below each; or the other way round."""
    shown, runs = _common(group)[:_MOST], group[:_MOST]
    rows, columns = (len(shown), len(runs)) if across else (len(runs), len(shown))
    height = (_CELL + 0.25) * rows + 0.6 if across else (_CELL + 0.35) * rows + 0.5
    heading = _heading(group, len(runs), dataset)
    figure = new_figure(_CELL * columns + 0.3, height, heading)
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, (loaded, kept) in enumerate(runs):
        values = _values(loaded) if across else {}
        for number, sample in enumerate(shown):
            axes = grid[number, place] if across else grid[place, number]
            show_picture(axes, kept.get(sample))
            if number == 0:
                title = _title(loaded) if across else short(loaded.record.model)
                axes.set_title(title, fontsize=8, loc="center" if across else "left")
            if across and loaded.record.model != ORIGINAL:
                _caption(axes, values.get(sample, ""))
            elif across or place == len(runs) - 1:
                _caption(axes, sample)
    _fit_rows(figure, grid)
    return figure


def _fit_rows(figure: Figure, grid: np.ndarray) -> None:
    """Take from rows of wide pictures the height that would stay blank."""
    heights = [
        max((min(1.0, _shape(image)) for axes in row for image in axes.images), default=1.0)
        for row in grid
    ]
    grid[0, 0].get_gridspec().set_height_ratios(heights)
    figure.set_figheight(figure.get_figheight() - _CELL * (len(heights) - sum(heights)))


def _shape(image: AxesImage) -> float:
    """A picture's height over its width."""
    height, width = image.get_size()
    return float(height / width)


def _caption(axes: Axes, text: str) -> None:
    axes.text(
        0.5, -0.03, short(text), ha="center", va="top", transform=axes.transAxes, fontsize=6.5
    )


def _heading(group: Group, shown: int, dataset: str) -> str:
    record = group[0][0].record
    more = "" if len(group) == shown else f", {shown} of {len(group)} runs"
    where = f", {dataset}" if dataset else ""
    return f"{record.task}, protocol {record.protocol}{where}{more}"


def _common(group: Group) -> list[str]:
    """Samples of the first run in task order, those that all runs kept first."""
    ids = list(dict.fromkeys(sample for _, kept in group for sample in kept))
    return sorted(ids, key=lambda sample: -sum(sample in kept for _, kept in group))


def _title(loaded: Loaded) -> str:
    record = loaded.record
    if record.model == ORIGINAL:
        return "original"
    rate = record.value("bpp")
    return short(record.model) + ("" if rate is None else f"\n{label('bpp').text(rate)} bpp")


def _values(loaded: Loaded) -> dict[str, str]:
    """What was measured of each sample, as a caption; nothing of what has no value."""
    from reports.samples import FILE, read_samples

    if loaded.root is None or not (loaded.root / FILE).is_file():
        return {}
    rows = read_samples(loaded)
    captions = [metric for metric in _CAPTIONS if metric in rows.columns]
    return {
        sample: ", ".join(
            f"{label(metric).title} {label(metric).text(float(rows.columns[metric][index]))}"
            for metric in captions
            if not math.isnan(rows.columns[metric][index])
        )
        for index, sample in enumerate(rows.ids)
    }
