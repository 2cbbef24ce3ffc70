"""DISTS (Ding et al. 2020): structure and texture of images by statistics of VGG16's layers."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from harness.data.images import to_device, with_float64
from harness.metrics.checks import check_images, check_range
from harness.metrics.lpips import load_trunk
from harness.metrics.networks import exact_float32, read_state_dict
from uwt_images.graphs import Graphs

if TYPE_CHECKING:
    from torch import Tensor

_CHANNELS = (3, 64, 128, 256, 512, 512)
"""Of the image itself and of the last layer of each of VGG's five stages."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EPSILON = 1e-6
_SHORTER_SIDE = 256
Weights = Mapping[str, torch.Tensor] | str | os.PathLike[str]


class Dists:
    """The distance of the authors' package DISTS_pytorch 0.1, its statistics in float64.

    Args:
        trunk: State dict, or path of one, of torchvision's ImageNet VGG16.
        heads: The same of the published weights of channels, `alpha` and `beta`.
        device: Where the network runs.
        micro_batch: Most images in a run of the trunk.

    Raises:
        ValueError: Weights that do not fit.
    """

    def __init__(
        self, trunk: Weights, heads: Weights, device: str = "cpu", *, micro_batch: int = 1
    ) -> None:
        self._device = device
        self._micro_batch = micro_batch
        self._graphs = Graphs(functools.partial(exact_float32, device))
        layers = load_trunk("vgg", trunk)
        self._layers = layers.to(device).to(memory_format=torch.channels_last)
        shape = torch.Size([1, sum(_CHANNELS), 1, 1])
        found = read_state_dict(heads, {"alpha": shape, "beta": shape}, "DISTS's heads")
        alpha, beta = (found[name].flatten().double() for name in ("alpha", "beta"))
        whole = alpha.sum() + beta.sum()
        self._alpha, self._beta = (each / whole for each in (alpha, beta))
        window = torch.tensor([0.5, 1.0, 0.5])
        self._window = (torch.outer(window, window) / window.sum() ** 2).to(device)
        self._mean, self._std = (
            torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (_MEAN, _STD)
        )

    def __call__(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        """Compute the distance of each pair.

        Args:
            reference: float (B, 3, H, W) in [-1, 1].
            reconstruction: The same of the images to judge.

        Returns:
            float64 (B,) on the CPU; 0 for identical images.

        Raises:
            ValueError: Wrong or unequal shapes, or values out of range.
        """
        for name, images in (("reference", reference), ("reconstruction", reconstruction)):
            check_images(images, name)
            check_range(images, name, -1.0, 1.0)
        if reference.shape != reconstruction.shape:
            raise ValueError(
                f"reference is {tuple(reference.shape)} and reconstruction "
                f"{tuple(reconstruction.shape)}; pair the images and give them the same size"
            )
        sides = [
            torch.split(to_device(each, self._device), self._micro_batch)
            for each in (reference, reconstruction)
        ]
        return torch.cat([self._distance(x, y) for x, y in zip(*sides, strict=True)])

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        found = self._graphs.run("pair", self._terms, x, y)
        texture, structure = (each.cpu() for each in found)
        distance: Tensor = 1 - texture @ self._alpha - structure @ self._beta
        return distance

    def _terms(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """How alike texture and structure of each channel are, float64 (B, channels) each."""
        structure, texture = [], []
        for first, second in zip(self._features(x), self._features(y), strict=True):
            mean_x, mean_y = (_mean(each) for each in (first, second))
            # Centred before they are multiplied: the package's E[xy] - E[x]E[y] cancels digits.
            first, second = (
                each - mean.to(each)[:, :, None, None]
                for each, mean in ((first, mean_x), (second, mean_y))
            )
            variances = _mean(first * first) + _mean(second * second)
            texture.append((2 * mean_x * mean_y + _EPSILON) / (mean_x**2 + mean_y**2 + _EPSILON))
            structure.append((2 * _mean(first * second) + _EPSILON) / (variances + _EPSILON))
        return torch.cat(texture, dim=1), torch.cat(structure, dim=1)

    def _features(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the image in [0, 1] and the last layer of each stage, float32 (B, C, H, W)."""
        image = (images.float() + 1) / 2
        yield image
        x = ((image - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        for layer in self._layers:
            if isinstance(layer, nn.MaxPool2d):
                yield x
                x = self._pooled(x)
            else:
                x = layer(x)
        yield x

    def _pooled(self, x: Tensor) -> Tensor:
        """L2 pooling, which unlike the maximum does not alias."""
        width = x.shape[1]
        window = self._window.expand(width, 1, 3, 3)
        return (functional.conv2d(x**2, window, stride=2, padding=1, groups=width) + 1e-12).sqrt()


def _mean(maps: Tensor) -> Tensor:
    """Mean over pixels, float64 (B, C)."""
    return with_float64(maps).mean(dim=(2, 3), dtype=torch.float64)


def shortened(images: np.ndarray) -> np.ndarray:
    """Resize uint8 (B, H, W, 3) to a shorter side of 256 as the authors' script; never enlarge."""
    height, width = images.shape[1:3]
    shorter = min(height, width)
    if shorter <= _SHORTER_SIDE:
        return images
    size = int(_SHORTER_SIDE * width / shorter), int(_SHORTER_SIDE * height / shorter)
    resized = [Image.fromarray(each).resize(size, Image.Resampling.BILINEAR) for each in images]
    return np.stack([np.asarray(each) for each in resized])
