"""Pictures of what came out, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from uniwetok.studies.mllm.measure import Neighbours
from uniwetok.studies.mllm.shapes import SHAPES
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.engine.logs import write_grid, write_pairs

Picture = NDArray[np.uint8]
_SHOWN = 16


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
