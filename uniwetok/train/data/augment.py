"""The paper's augmentation: resize to cover, crop, scale to [-1, 1]; no flip."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from uniwetok.train.data.config import Crop
from uwt_images.listing import UnreadableImage

_MOST_PIXELS = 2**27
"""Pixels of a resized image before its crop: 400 MB. Only a strip hundreds of times longer than
wide has more, which Pillow would otherwise blow up to any size."""


def cut(
    image: Image.Image, size: tuple[int, int], crop: Crop, rng: np.random.Generator
) -> torch.Tensor:
    """Resize an image until it just covers ``size``, then crop it.

    For a square this is torchvision's ``Resize`` of the shorter side on a Pillow image (bilinear,
    antialiased), followed by its ``CenterCrop``, or by a crop at an offset drawn uniformly.

    Args:
        image: 8-bit RGB of any size.
        size: height and width in pixels.
        crop: "random" or "center".
        rng: draws the offset of a random crop.

    Returns:
        uint8, (3, height, width), 0..255.

    Raises:
        UnreadableImage: the image is a strip too long to resize.
    """
    height, width = size
    resized_height, resized_width = _cover((image.height, image.width), size)
    if resized_height * resized_width > _MOST_PIXELS:
        raise UnreadableImage(
            f"{image.width}x{image.height} pixels are too long a strip to cut {width}x{height} from"
        )
    resized = image.resize((resized_width, resized_height), Image.Resampling.BILINEAR)
    slack = (resized_height - height, resized_width - width)
    if crop == "random":
        top, left = (int(rng.integers(0, room + 1)) for room in slack)
    else:
        top, left = (round(room / 2) for room in slack)
    pixels = np.array(resized.crop((left, top, left + width, top + height)))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _cover(image: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width that keep the image's shape and just cover ``size``."""
    (image_height, image_width), (height, width) = image, size
    if height * image_width >= width * image_height:
        return height, max(width, height * image_width // image_height)
    return max(height, width * image_height // image_width), width


def to_model_range(pixels: torch.Tensor) -> torch.Tensor:
    """Scale uint8 0..255 to float32 in [-1, 1]: v / 127.5 - 1."""
    # By a tensor: a GPU would multiply by the rounded inverse of a number.
    return pixels.to(torch.float32).div_(torch.full((), 127.5, device=pixels.device)).sub_(1.0)
