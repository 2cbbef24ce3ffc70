"""Random weights of the metric networks, for speeds and for agreement between two codes."""

from __future__ import annotations

import math

import torch

from harness.metrics.inception import inception_shapes
from harness.metrics.lpips import Net, trunk_shapes
from harness.metrics.networks import Shapes, StateDict


def random_inception_state_dict(seed: int) -> StateDict:
    """The FID Inception network's, under the names of the published weights file."""
    return random_state_dict(inception_shapes(), seed)


def random_trunk_state_dict(net: Net, seed: int) -> StateDict:
    """An LPIPS trunk's, under torchvision's names."""
    return random_state_dict(trunk_shapes(net), seed)


def random_state_dict(shapes: Shapes, seed: int) -> StateDict:
    """Draw a state dict whose activations keep a reasonable size through ReLU networks.

    Convolutions and linear layers are normal with variance 2 / fan-in; normalisations have scales
    and variances in [0.5, 1.5] and small shifts; biases are small.

    Args:
        shapes: name and shape of every tensor.
        seed: seed of PyTorch's CPU generator.

    Returns:
        float32 tensors in the order of `shapes`.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            values = torch.randn(shape, generator=generator)
            values *= math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith(("running_var", ".bn.weight")):
            values = torch.rand(shape, generator=generator) + 0.5
        else:
            values = torch.randn(shape, generator=generator) * 0.1
        state[name] = values
    return state
