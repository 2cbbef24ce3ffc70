"""Every figure by name, and drawing those that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reports.figures import comparison, grids, radar, scatter, sizes
from reports.figures.canvas import NothingToDraw, style, write_figure
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


def _comparison(material: Material) -> dict[str, Figure]:
    if not material.details:
        raise NothingToDraw("comparison needs --rows FILE, which names samples and crops")
    return {"": comparison.draw(material.records, material.details)}


def _radar(name: str) -> Callable[[Material], dict[str, Figure]]:
    return lambda material: {"": radar.draw(radar.RADARS[name], material.records)}


FIGURES: Mapping[str, Callable[[Material], dict[str, Figure]]] = {
    "rate-distortion": lambda material: {"": scatter.draw_rates(material.records)},
    "training-cost": lambda material: {"": scatter.draw_costs(material.records, material.costs)},
    **{name: _radar(name) for name in radar.RADARS},
    "radar-gedit-groups": lambda material: {"": radar.draw_groups(material.records)},
    "text-height": lambda material: {
        "": sizes.draw(
            material.records,
            "cer",
            title="Character errors, % ↓",
            along="height of a line",
            scale=100,
        )
    },
    "face-size": lambda material: {
        "": sizes.draw(
            material.records,
            "face_similarity",
            title="Similarity of faces (cosine) ↑",
            along="side of a face",
        )
    },
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
