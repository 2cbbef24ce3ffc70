"""A small model with weights by formula."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from uniwetok.ar import BitDance, BitDanceConfig


def waves(shape: tuple[int, ...], phase: float) -> Tensor:
    """Values in [-1, 1] by formula, so that no random generator has to stay the same."""
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(steps * (1.3 + phase / 97) + 5 * steps.sqrt() + phase).float().view(shape)


def fill_by_formula(model: BitDance) -> BitDance:
    """Give every weight a value that depends on the rank of its name and on its index."""
    for rank, (name, weight) in enumerate(sorted(model.state_dict().items())):
        values = waves(tuple(weight.shape), phase=float(rank))
        if weight.ndim > 1:
            values *= math.sqrt(3 / weight[0].numel())
        elif name.endswith("weight"):
            values = 1 + 0.2 * values
        else:
            values *= 0.2
        weight.copy_(values)
    return model.eval()


def tiny(parallel_tokens: int = 1, **changes: float) -> BitDanceConfig:
    """A small model of 4x4 tokens of 16 bits."""
    sizes = {
        "width": 32,
        "layers": 2,
        "heads": 2,
        "diffusion_width": 64,
        "diffusion_blocks": 2,
        "latent_channels": 16,
        "grid": 4,
        "classes": 10,
        "class_tokens": 4,
        "loss_repeats": 2,
    }
    return BitDanceConfig(**{**sizes, "parallel_tokens": parallel_tokens, **changes})
