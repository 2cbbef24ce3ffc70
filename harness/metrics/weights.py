"""State dicts of metric networks: read without executing pickles, checked, or made from a seed."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

Shapes = Mapping[str, torch.Size]
StateDict = dict[str, torch.Tensor]


def read_state_dict(
    weights: Mapping[str, torch.Tensor] | str | os.PathLike[str], shapes: Shapes, network: str
) -> StateDict:
    """Read the tensors that a network needs and check their names and shapes.

    Args:
        weights: a state dict, or the path of one saved with ``torch.save``; tensors beyond those
            in `shapes` are ignored.
        shapes: the shape of every tensor that the network needs.
        network: the network's name in errors.

    Returns:
        float32 tensors on the CPU under the names in `shapes`.

    Raises:
        ValueError: the file is not a plain state dict, or tensors are missing, have another shape
            or are not finite.
    """
    source, state = "the given state dict", weights
    if isinstance(state, str | os.PathLike):
        source = str(Path(state))
        try:
            state = torch.load(source, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
            raise ValueError(
                f"{source} is not a state dict of tensors; give the published {network} weights"
            ) from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{source} holds a {type(state).__name__}; give a state dict of {network}")
    missing = [name for name in shapes if not isinstance(state.get(name), torch.Tensor)]
    if missing:
        raise ValueError(
            f"{source} lacks {len(missing)} of the {len(shapes)} tensors of {network}, first "
            f"{missing[0]!r}; give the published weights"
        )
    for name, shape in shapes.items():
        tensor = state[name]
        if tensor.shape != shape:
            raise ValueError(
                f"{name!r} in {source} has shape {tuple(tensor.shape)}, {network} needs "
                f"{tuple(shape)}; give the published weights"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name!r} in {source} is not finite; fetch the weights again")
    return {name: state[name].detach().to("cpu", torch.float32) for name in shapes}


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
