"""LPIPS with VGG16 as a training loss (Zhang et al. 2018), heads v0.1 of the lpips package."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses.config import MissingWeights
from uniwetok.losses.numerics import full_precision
from uniwetok.tensors import read_tensors

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of VGG16's convolutions; the last ReLU of each stage is compared."""
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10
_SMALLEST_SIDE = 16
_FETCH = "run `uwt-eval assets fetch vgg16`"


class Lpips(nn.Module):
    """LPIPS-VGG, differentiable in the reconstruction.

    The network is frozen, has no dropout and is no part of the state dict: its tensors are
    non-persistent buffers. (The released code keeps the dropout before the heads; whether it is
    active in training depends on the version of Lightning. The values here are those of the
    published measure.)

    Under autocast the convolutions run in the reduced precision, the distances in float32.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, trunk: Mapping[str, Tensor] | str | Path, heads: Sequence[Tensor] | None = None
    ) -> None:
        """Load the trunk and, from the installed lpips package unless they are given, the heads.

        Args:
            trunk: state dict of torchvision's ImageNet VGG16, or the path of its file
                ``vgg16-397923af.pth``; only ``features.*`` is used.
            heads: channel weights (channels, 1, 1) of each stage of `STAGES`.

        Raises:
            MissingWeights: the file does not exist, or the lpips package is not installed.
            ValueError: the weights are not those of VGG16.
        """
        super().__init__()
        weights = _read_trunk(trunk)
        for index, name in enumerate(convolutions()):
            weight = weights[f"{name}.weight"].contiguous(memory_format=torch.channels_last)
            self.register_buffer(f"weight{index}", weight, persistent=False)
            self.register_buffer(f"bias{index}", weights[f"{name}.bias"], persistent=False)
        for index, head in enumerate(_read_heads() if heads is None else heads):
            self.register_buffer(f"head{index}", head, persistent=False)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Compute the distance of each pair.

        Args:
            images: (batch, 3, H, W) floating in [-1, 1], H and W at least 16; no gradient.
            reconstruction: of the same shape, nominally in [-1, 1]; receives the gradient.

        Returns:
            (batch,) float32 (float64 in a float64 module), not negative up to rounding.

        Raises:
            ValueError: the shapes differ or do not fit.
        """
        if images.shape != reconstruction.shape or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"LPIPS compares two batches (batch, 3, H, W), got {tuple(images.shape)} and "
                f"{tuple(reconstruction.shape)}"
            )
        if min(images.shape[2:]) < _SMALLEST_SIDE:
            raise ValueError(
                f"images of {images.shape[2]}x{images.shape[3]} are too small for VGG16, whose "
                f"poolings need sides of at least {_SMALLEST_SIDE}"
            )
        with torch.no_grad():
            wanted = self._features(images)
        distances = [
            ((ours - theirs).square() * self.get_buffer(f"head{index}")).sum(1).mean((1, 2))
            for index, (ours, theirs) in enumerate(
                zip(self._features(reconstruction), wanted, strict=True)
            )
        ]
        return torch.stack(distances).sum(0)

    def _features(self, images: Tensor) -> list[Tensor]:
        """Unit feature vectors (batch, channels, h, w) of the five compared layers."""
        # Channels last is a sixth faster on a CPU; nothing here normalises over positions, which
        # is what rules it out in the tokenizer.
        images = images.to(self.scale.dtype, memory_format=torch.channels_last)
        x = (images - self.shift) / self.scale
        features = []
        index = 0
        for stage, widths in enumerate(STAGES):
            if stage:
                x = F.max_pool2d(x, 2)
            for _ in widths:
                weight, bias = self.get_buffer(f"weight{index}"), self.get_buffer(f"bias{index}")
                x = F.relu(F.conv2d(x, weight, bias, padding=1))
                index += 1
            vectors = full_precision(x)
            # Unlike the root of a sum of squares, this has a gradient where all features are 0.
            length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
            features.append(vectors / (length + _EPSILON))
        return features


def convolutions() -> dict[str, tuple[int, int]]:
    """Torchvision's names of the convolutions, with their input and output channels."""
    layers = {}
    index, channels = 0, 3
    for widths in STAGES:
        for width in widths:
            layers[f"features.{index}"] = (channels, width)
            index, channels = index + 2, width
        index += 1
    return layers


def _read_trunk(trunk: Mapping[str, Tensor] | str | Path) -> dict[str, Tensor]:
    if isinstance(trunk, str | Path):
        source = str(trunk)
        if not Path(trunk).is_file():
            raise MissingWeights(f"LPIPS needs VGG16's weights, but {source} is missing; {_FETCH}")
        trunk = read_tensors(Path(trunk))
    else:
        source = "the given state dict"
    weights = {}
    for name, (inputs, outputs) in convolutions().items():
        for kind, shape in (("weight", (outputs, inputs, 3, 3)), ("bias", (outputs,))):
            tensor = trunk.get(f"{name}.{kind}")
            if tensor is None or tuple(tensor.shape) != shape:
                found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
                raise ValueError(
                    f"{source} is not VGG16's: {name}.{kind} is {found}, expected {shape}; {_FETCH}"
                )
            weights[f"{name}.{kind}"] = tensor.detach().float().clone()
    return weights


def _read_heads() -> list[Tensor]:
    """Channel weights (channels, 1, 1) of each compared layer."""
    # Importing the package would import its training code; only its weights are needed.
    package = importlib.util.find_spec("lpips")
    if package is None or package.origin is None:
        raise MissingWeights("LPIPS's heads come with the lpips package; install lpips==0.1.4")
    heads = read_tensors(Path(package.origin).parent / "weights" / "v0.1" / "vgg.pth")
    return [heads[f"lin{index}.model.1.weight"].view(-1, 1, 1) for index in range(len(STAGES))]
