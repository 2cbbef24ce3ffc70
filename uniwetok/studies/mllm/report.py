"""The figures and pictures of the proof, for people and machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from uniwetok.studies.mllm.measure import Neighbours, Share
from uniwetok.studies.mllm.settings import MiniMLLMSettings
from uniwetok.studies.mllm.shapes import SHAPES
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.engine.logs import write_grid, write_pairs

Picture = NDArray[np.uint8]
_SHOWN = 16


@dataclass(frozen=True)
class MiniMLLMResult:
    """What came out."""

    settings: MiniMLLMSettings
    seed: int
    shares: tuple[Share, ...]
    """In the order they are printed in."""
    seconds: dict[str, float]
    """CPU time of each stage, of all its threads, over all commands that worked on it."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "settings": asdict(self.settings),
            "seed": self.seed,
            "cpu_seconds": self.seconds,
            "shares": [
                {
                    **asdict(share),
                    "value": share.value,
                    "interval": share.interval,
                    "above": share.above,
                }
                for share in self.shares
            ],
        }

    def render(self) -> RenderableType:
        """Print the table, and how long it took."""
        table = Table(title="held-out pictures of easy-VQA", title_justify="left", box=None)
        left = ("task", "right in")
        for heading in (*left, "share", "95% interval", "trials", "blind", "95% lead"):
            table.add_column(heading, justify="left" if heading in left else "right")
        for share in self.shares:
            low, high = share.interval
            table.add_row(
                share.task,
                share.name,
                Text(f"{share.value:.3f}", "green" if share.above else "red"),
                f"{low:.3f} to {high:.3f}",
                str(share.trials),
                f"{share.chance:.3f}",
                "" if share.lead is None else f"{share.lead[0]:.3f} to {share.lead[1]:.3f}",
            )
        against = dict.fromkeys((share.task, share.against) for share in self.shares)
        lines = [Text(f"blind, {task}: {text}") for task, text in against]
        stages = ", ".join(f"{name} {value / 60:.1f}" for name, value in self.seconds.items())
        total = sum(self.seconds.values()) / 60
        return Group(table, Text(), *lines, Text(f"CPU minutes: {stages}; together {total:.1f}"))


def write_pictures(
    folder: Path,
    captions: Sequence[Picture],
    edits: Sequence[tuple[Picture, str, Picture]],
    neighbours: Neighbours,
) -> None:
    """Write one PNG each of drawings, edits and reconstructions.

    Args:
        folder: of the PNGs.
        captions: one picture for each caption, colour by colour.
        edits: source, instruction and outcome.
        neighbours: held-out pictures and what the tokenizer makes of them.
    """
    rows = len(captions) // len(SHAPES)
    by_shape = [
        captions[row * len(SHAPES) + shape] for shape in range(len(SHAPES)) for row in range(rows)
    ]
    write_grid(folder / "drawings.png", _images(by_shape), columns=rows)
    sources, _, outcomes = zip(*edits, strict=True)
    write_pairs(folder / "edits.png", _images(sources), _images(outcomes))
    shown = [shape.pixels for shape in neighbours.shapes[:_SHOWN]]
    write_pairs(
        folder / "reconstructions.png", _images(shown), _images(neighbours.rebuilt[:_SHOWN])
    )


def _images(pictures: Sequence[Picture]) -> torch.Tensor:
    return to_model_range(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))
