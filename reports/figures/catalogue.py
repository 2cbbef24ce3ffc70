"""Every figure by name, and drawing those that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reports.figures import comparison, grids, radar, scatter, sizes
from reports.figures.canvas import NothingToDraw, style, write_figure
from reports.figures.datasets import by_dataset
from reports.paper import load_table
from reports.records import Loaded

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What figures are drawn from, beside the paper's printed figures."""

    records: Sequence[Loaded] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    """Training tokens by model."""
    details: Sequence[comparison.Detail] = ()
    """Rows of the comparison."""


def _by_dataset(
    material: Material,
    shown: Callable[[Loaded], bool],
    drawn: Callable[[Sequence[Loaded], str], Figure],
) -> dict[str, Figure]:
    """A figure for each data set of a task, which its headline names where there are several."""
    parts = by_dataset(material.records, shown)
    return {part.end: drawn(part.records, part.title) for part in parts}


def _rates(material: Material) -> dict[str, Figure]:
    tasks = load_table(scatter.RATE_TABLE)["tasks"]
    return _by_dataset(material, lambda each: each.record.task in tasks, scatter.draw_rates)


def _costs(material: Material) -> dict[str, Figure]:
    scatter.check_costs(material.records, material.costs)
    tasks = load_table(scatter.COST_TABLE)["tasks"]
    return _by_dataset(
        material,
        lambda each: each.record.task in tasks,
        lambda records, title: scatter.draw_costs(records, material.costs, title),
    )


def _comparison(material: Material) -> dict[str, Figure]:
    if not material.details:
        raise NothingToDraw("comparison needs --rows FILE, which names samples and crops")
    return {"": comparison.draw(material.records, material.details)}


def _radar(name: str) -> Callable[[Material], dict[str, Figure]]:
    chosen = radar.RADARS[name]
    return lambda material: _by_dataset(
        material,
        lambda each: radar.shows(chosen, each.record.task),
        lambda records, title: radar.draw(chosen, records, title),
    )


def _sizes(
    metric: str, title: str, along: str, scale: float = 1
) -> Callable[[Material], dict[str, Figure]]:
    return lambda material: _by_dataset(
        material,
        lambda each: bool(sizes.classes(each.record, metric)),
        lambda records, headline: sizes.draw(
            records, metric, title=title, along=along, scale=scale, headline=headline
        ),
    )


FIGURES: Mapping[str, Callable[[Material], dict[str, Figure]]] = {
    "rate-distortion": _rates,
    "training-cost": _costs,
    **{name: _radar(name) for name in radar.RADARS},
    "radar-gedit-groups": lambda material: {"": radar.draw_groups(material.records)},
    "text-height": _sizes("cer", "Character errors, % ↓", "height of a line", 100),
    "face-size": _sizes("face_similarity", "Similarity of faces (cosine) ↑", "side of a face"),
    "reconstructions": lambda material: grids.reconstructions(material.records),
    "samples": lambda material: grids.samples(material.records),
    "comparison": _comparison,
}
"""Figures by name; what each gives is keyed by what its file's name ends in."""


def draw(
    names: Sequence[str], material: Material, folder: Path, formats: Sequence[str]
) -> tuple[list[Path], dict[str, str]]:
    """Draw figures into a folder.

    Args:
        names: Figures to draw; all if empty, leaving out those that cannot be drawn.
        material: What to draw.
        folder: Where the files go.
        formats: 'png', 'svg' or both.

    Returns:
        The files, and why figures were left out, by name.

    Raises:
        UserError: A named figure cannot be drawn, or a file cannot be written.
    """
    written: list[Path] = []
    left_out: dict[str, str] = {}
    with style():
        for name in names or FIGURES:
            try:
                figures = FIGURES[name](material)
            except NothingToDraw as error:
                if names:
                    raise
                left_out[name] = str(error)
                continue
            for end, figure in figures.items():
                written += write_figure(
                    figure, folder / "-".join(filter(None, (name, end))), formats
                )
    return written, left_out
