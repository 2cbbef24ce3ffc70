from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from uniwetok.tokenizer import UniWeTok, UniWeTokConfig


def waves(shape: tuple[int, ...], phase: float) -> Tensor:
    """Values in [-1, 1] by formula, so that no random generator has to stay the same."""
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(steps * (1.3 + phase / 97) + 5 * steps.sqrt() + phase).float().view(shape)


def fill_by_formula(model: UniWeTok) -> UniWeTok:
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


@pytest.fixture(scope="session")
def config() -> UniWeTokConfig:
    """A small model with the paper's downsampling, whose groups have 8 bits."""
    return UniWeTokConfig(
        channels=32,
        channel_multipliers=(1, 1, 1, 1, 2, 2),
        num_res_blocks=1,
        latent_channels=16,
        attention_blocks=2,
        heads=1,
        groups=2,
    )


@pytest.fixture(scope="session")
def model(config: UniWeTokConfig) -> UniWeTok:
    return fill_by_formula(UniWeTok(config))


@pytest.fixture(scope="session")
def images() -> Tensor:
    """Three images of 64x96 pixels."""
    return waves((3, 3, 64, 96), phase=0.5)
