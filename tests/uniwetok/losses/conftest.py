from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from uniwetok.losses import Lpips
from uniwetok.losses.perceptual import convolutions


@pytest.fixture(scope="module")
def trunk() -> dict[str, Tensor]:
    """Random VGG16 convolutions under torchvision's names, whose activations keep their size."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, (inputs, outputs) in convolutions().items():
        weight = torch.randn(outputs, inputs, 3, 3, generator=generator)
        state[f"{name}.weight"] = weight * math.sqrt(2 / (9 * inputs))
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1
    return state


@pytest.fixture(scope="module")
def lpips_loss(trunk: dict[str, Tensor]) -> Lpips:
    return Lpips(trunk)
