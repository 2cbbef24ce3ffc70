"""ADM's crops, which class-conditional ImageNet models are trained on, and mirroring."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uniwetok.train.ar.config import CodesConfig
from uwt_images.listing import UnreadableImage

_MOST_PIXELS = 2**27
"""Pixels of a resized image before its crop, see `uniwetok.train.data.augment`."""


def random_view(
    image: Image.Image, size: int, smallest_crop: float, rng: np.random.Generator
) -> Tensor:
    """Resize the shorter side to ``size`` or up to ``size / smallest_crop``, crop, mirror half.

    Args:
        image: 8-bit RGB of any size.
        size: side of the view in pixels.
        smallest_crop: in (0, 1].
        rng: draws the resized side, the crop's offset and the mirroring, in this order.

    Returns:
        uint8, (3, size, size), 0..255.

    Raises:
        UnreadableImage: the image is a strip too long to resize.
    """
    side = int(rng.integers(size, math.ceil(size / smallest_crop) + 1))
    resized = _resize(image, side)
    left, top = (int(rng.integers(0, length - size + 1)) for length in resized.size)
    view = _crop(resized, left, top, size)
    return view.flip(-1) if rng.random() < 0.5 else view


def center_view(image: Image.Image, size: int) -> Tensor:
    """Resize the shorter side to ``size``, and crop the center; see `random_view`."""
    resized = _resize(image, size)
    left, top = ((length - size) // 2 for length in resized.size)
    return _crop(resized, left, top, size)


def _resize(image: Image.Image, shorter: int) -> Image.Image:
    """Halve by averaging while that leaves enough, then resize by Pillow's bicubic."""
    ratio = max(image.size) / min(image.size)
    if shorter**2 * ratio > _MOST_PIXELS:
        raise UnreadableImage(
            f"{image.width}x{image.height} pixels are too long a strip to cut {shorter}x{shorter} "
            "from"
        )
    while min(image.size) >= 2 * shorter:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = shorter / min(image.size)
    target = (round(image.width * scale), round(image.height * scale))
    return image.resize(target, Image.Resampling.BICUBIC)


def _crop(image: Image.Image, left: int, top: int, size: int) -> Tensor:
    pixels = np.array(image.crop((left, top, left + size, top + size)))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class FreshViews:
    """The view of every position of a run, drawn anew each time; for `TrainingImages`."""

    config: CodesConfig
    positions: int
    """Positions of the whole run: steps times batch."""

    def __call__(
        self, image: Image.Image, size: tuple[int, int], rng: np.random.Generator, position: int
    ) -> Tensor:
        """Return uint8 (3, size, size): a random crop, late in the run a center crop."""
        if rng.random() < self.config.center_share(position / self.positions):
            view = center_view(image, size[0])
            return view.flip(-1) if rng.random() < 0.5 else view
        return random_view(image, size[0], self.config.smallest_crop, rng)
