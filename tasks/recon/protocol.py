"""The settings of a reconstruction protocol, typed, and the pixel rules they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from harness.data.images import DecodeRule
from harness.interfaces.errors import DecodeError
from harness.interfaces.types import Record
from tasks.shared.protocol_settings import read_settings

if TYPE_CHECKING:
    from torch import Tensor


class Geometry(Record):
    """Which pixels are evaluated: a resized centre crop, or the image as it is."""

    resize: int | None = None
    """Shorter side after resizing; the longer is truncated to whole pixels."""
    kernel: Literal["pil-bilinear"] = "pil-bilinear"
    """Pillow's bilinear, which antialiases."""
    crop: int | None = None
    """Side of the centre crop."""
    min_side: int = 1
    """Images with a smaller side cannot be evaluated."""
    pad: int = 32
    """Multiple that `max_padded_side` is measured after."""
    max_padded_side: int | None = None
    """Images with a larger padded side are not part of the evaluation."""

    def apply(self, image: Image.Image) -> np.ndarray:
        """Crop to what is evaluated: uint8 (H, W, 3). Raises `DecodeError` for too small ones."""
        if min(image.size) < self.min_side:
            width, height = image.size
            raise DecodeError(
                f"image of {width}x{height} is smaller than {self.min_side} pixels a side"
            )
        if self.resize is not None:
            image = _resize_shorter_side(image, self.resize)
        if self.crop is not None:
            image = _centre_crop(image, self.crop)
        return np.asarray(image)

    def takes(self, width: int, height: int) -> bool:
        """Whether an image of that size is part of the evaluation."""
        if self.max_padded_side is None:
            return True
        longest = max(width, height)
        return -(-longest // self.pad) * self.pad <= self.max_padded_side


def _resize_shorter_side(image: Image.Image, size: int) -> Image.Image:
    """`torchvision.transforms.Resize(size)` on a Pillow image."""
    width, height = image.size
    if min(width, height) == size:
        return image
    if width <= height:
        shape = (size, int(size * height / width))
    else:
        shape = (int(size * width / height), size)
    return image.resize(shape, Image.Resampling.BILINEAR)


def _centre_crop(image: Image.Image, size: int) -> Image.Image:
    """`torchvision.transforms.CenterCrop(size)` on a Pillow image at least that large."""
    width, height = image.size
    left = round((width - size) / 2.0)
    top = round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


class ReconSettings(Record):
    """What the reconstruction tasks themselves read of a protocol."""

    decode: DecodeRule
    geometry: Geometry
    uint8: Literal["truncate", "round"]
    """How float images become 8-bit."""
    reference_uint8: Literal["as-decoded", "through-float"]
    """Whether the original goes through float32 and the uint8 rule before it is compared."""
    network_input: Literal["float", "uint8"]
    """Whether networks see the float reconstruction or its 8-bit version."""
    noise: Literal["per-sample"]
    """A stochastic decoder draws its noise from one stream a sample."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ReconSettings:
        """Check a protocol's settings; raise `UserError` naming what is missing or wrong."""
        return read_settings(cls, settings, "a reconstruction task")

    def to_uint8(self, images: Tensor) -> np.ndarray:
        """float32 (B, 3, H, W) in [-1, 1] to uint8 (B, H, W, 3) by the protocol's rule."""
        levels = (images + 1) / 2 * 255
        if self.uint8 == "round":
            levels = levels.round()
        # Truncation is what a cast to an unsigned integer does.
        pixels: np.ndarray = levels.clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        return np.ascontiguousarray(pixels)
