"""What metric networks share: arithmetic, state dicts, and any torch module as one of them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal, Protocol

import torch

from harness.data.images import to_device
from harness.data.manifest import GPU_BLOCK
from harness.interfaces.observing import ARITHMETIC

Shapes = Mapping[str, torch.Size]
StateDict = dict[str, torch.Tensor]


@contextmanager
def exact_float32(device: torch.device | str) -> Iterator[None]:
    """Run a network in plain float32: no gradients, no TF32, no choice of kernels by timing.

    What is queued on a GPU within goes there while no model in another arithmetic is at it.
    """
    with (
        _strict_matrices() if torch.device(device).type == "cuda" else nullcontext(),
        torch.inference_mode(),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        yield


@contextmanager
def _strict_matrices() -> Iterator[None]:
    """Keep to float32 on a GPU whatever a caller has switched on, and leave that on."""
    switches = torch.backends.cuda.matmul
    with ARITHMETIC, torch.autocast("cuda", enabled=False):
        before, switches.allow_tf32 = switches.allow_tf32, False
        try:
            yield
        finally:
            switches.allow_tf32 = before


def at_a_time(device: str) -> int:
    """Images a network takes at once: a CPU gains nothing from several, a GPU takes a block."""
    return 1 if device == "cpu" else GPU_BLOCK


class FeatureNetwork(Protocol):
    """A network with what must be done to an image before it."""

    @property
    def scaling(self) -> Literal["byte", "unit"]:
        """Whether `prepare` takes uint8 images, or float32 ones in [0, 1]."""
        ...

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """The network's input of images of one size, (B, 3, H, W); inputs are all of one size."""
        ...

    def extract(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Features of prepared images, float32 (B, d) by output."""
        ...


class ModuleNetwork:
    """A torch module that gives one vector an image.

    On a CPU images pass one by one, so that an image's features never depend on its neighbours.

    Args:
        module: Takes prepared images; gives float (B, d). Put into evaluation mode.
        prepare: From images, on the device, to the module's input.
        output: What its features are called; the column of another extractor must differ.
        device: Where it runs.
        scaling: Whether `prepare` takes uint8 images, or float32 ones in [0, 1].
    """

    def __init__(
        self,
        module: torch.nn.Module,
        prepare: Callable[[torch.Tensor], torch.Tensor],
        output: str,
        device: str,
        scaling: Literal["byte", "unit"] = "byte",
    ) -> None:
        self.scaling = scaling
        self._module = module.to(device).eval()
        self._prepare = prepare
        self._output = output
        self._device = device

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """The module's input, on its device."""
        return self._prepare(to_device(images, self._device))

    def extract(self, prepared: torch.Tensor) -> dict[str, torch.Tensor]:
        """The module's output under its one name, float32 (B, d)."""
        with exact_float32(self._device):
            pieces = torch.split(prepared.to(self._device), at_a_time(self._device))
            rows = torch.cat([self._module(piece) for piece in pieces]).float()
        if rows.ndim != 2:
            raise ValueError(f"{self._output}: the module gives {tuple(rows.shape)}, not (B, d)")
        return {self._output: rows}


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
