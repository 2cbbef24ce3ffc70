"""The settings of a reconstruction protocol, typed, and the pixel rules they name."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from PIL import Image
from pydantic import model_validator

from harness.data.images import DecodeRule
from harness.interfaces.errors import DecodeError
from harness.interfaces.protocols import Count
from harness.interfaces.types import Record, Stage
from harness.metrics.settings import PairMeasures, SetMeasures, TappedInception


class Geometry(Record):
    """Which pixels are evaluated: a resized centre crop, or the image as it is."""

    resize: Count | None = None
    """Shorter side after resizing; the longer is truncated to whole pixels."""
    kernel: Literal["pil-bilinear"] = "pil-bilinear"
    """Pillow's bilinear, which antialiases."""
    crop: Count | None = None
    """Side of the centre crop."""
    min_side: Count = 1
    """Images with a smaller side cannot be evaluated."""
    pad: Count = 32
    """Multiple that `max_padded_side` is measured after."""
    max_padded_side: Count | None = None
    """Images with a larger padded side are not part of the evaluation."""

    @model_validator(mode="after")
    def _every_choice_has_a_meaning(self) -> Self:
        for name, needed in (("kernel", "resize"), ("pad", "max_padded_side")):
            if name in self.model_fields_set and getattr(self, needed) is None:
                raise ValueError(f"has {name!r}, which means nothing without {needed!r}")
        least = self.min_side if self.resize is None else self.resize
        if self.crop is not None and self.crop > least:
            raise ValueError(
                f"has a crop of {self.crop}, larger than the {least} that it is cut of"
            )
        return self

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


class ReconInception(TappedInception):
    """Distances are to the very images that were reconstructed."""

    reference: Annotated[Literal["same-images"], Stage.OBSERVE] = "same-images"


class ReconSettings(PairMeasures, SetMeasures):
    """What the reconstruction tasks read of a protocol."""

    decode: Annotated[DecodeRule, Stage.GENERATE]
    geometry: Annotated[Geometry, Stage.GENERATE]
    noise: Annotated[Literal["per-sample"], Stage.GENERATE]
    """A stochastic decoder draws its noise from one stream a sample."""
    uint8: Annotated[Literal["truncate", "round"], Stage.OBSERVE]
    """How float images become 8-bit."""
    reference_uint8: Annotated[Literal["as-decoded", "through-float"], Stage.OBSERVE]
    """Whether the original goes through float32 and the uint8 rule before it is compared."""
    network_input: Annotated[Literal["float", "uint8"], Stage.OBSERVE]
    """Whether networks see the float reconstruction or its 8-bit version."""
    inception: ReconInception | None = None
