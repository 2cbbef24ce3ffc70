"""Small checkpoints with the weights' names as released, and what the released code makes of them.

`data/released.json` was written by the released modules of each project, in float64: names and
shapes of all weights, and the codes and some pixels of `image`, with the weights that `weight`
gives.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CASES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "released.json").read_text(encoding="utf-8")
)


def weight(name: str, shape: list[int]) -> Tensor:
    """A weight's values, float64, by its name."""
    places = torch.arange(math.prod(shape), dtype=torch.float64)
    wave = torch.sin(places * 1.7 + zlib.crc32(name.encode()) % 1000).reshape(shape)
    if name.endswith("embedding.weight"):
        return 0.3 * wave
    if len(shape) == 1:
        return float("norm" in name and name.endswith("weight")) + 0.1 * wave
    return wave * math.sqrt(2 / math.prod(shape[1:]))


def state_dict(case: str) -> dict[str, Tensor]:
    """All that the released network would save, in float64."""
    found = {name: weight(name, shape) for name, shape in CASES[case]["weights"].items()}
    others = {name: torch.zeros(shape) for name, shape in CASES[case]["others"].items()}
    return found | others


def image(height: int, width: int) -> Tensor:
    """An image (1, 3, H, W) in [-1, 1], float64."""
    y = torch.arange(height, dtype=torch.float64)[:, None]
    x = torch.arange(width, dtype=torch.float64)
    channels = [
        torch.sin(0.37 * x * (c + 1) + 0.21 * y * (c + 2) + torch.sin(x * y * 0.05))
        for c in range(3)
    ]
    return torch.stack(channels)[None]
