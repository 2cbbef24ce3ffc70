"""Images stored as they are: the identity, and what models that draw pictures keep of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import PIL
from PIL import Image

from harness.data.images import to_images, to_tensor
from harness.interfaces import Code
from harness.interfaces.types import ModelCard
from uwt_images.decoding import RASTER_FORMATS

if TYPE_CHECKING:
    from torch import Tensor


class StoredAsPng:
    """Mixed into models whose outputs are stored as PNG files, lossless."""

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Read images of one size as float32 (B, 3, H, W) in [-1, 1]."""
        del seeds
        return to_tensor(
            [Image.open(io.BytesIO(code.payload), formats=RASTER_FORMATS) for code in codes]
        )


class Identity(StoredAsPng):
    """Stores each image as PNG, lossless: what every metric says of a perfect reconstruction."""

    concurrent = True
    works_on = "cpu"

    @property
    def card(self) -> ModelCard:
        """The Pillow version decides the rate."""
        return ModelCard(name="identity", config={"pillow": PIL.__version__})

    def load(self, device: str) -> None:
        """Nothing to load."""

    def encode(self, images: Tensor) -> list[Code]:
        """Encode each image as PNG."""
        return [png(image) for image in to_images(images)]


def png(image: Image.Image) -> Code:
    """An image as a PNG file, lossless."""
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return Code(buffer.getvalue(), image.height, image.width)
