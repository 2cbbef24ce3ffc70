"""The identity: what every metric says of a perfect reconstruction."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import PIL
from PIL import Image

from harness.baselines.pixels import to_images, to_tensor
from harness.interfaces import Code
from harness.interfaces.types import ModelCard

if TYPE_CHECKING:
    from torch import Tensor


class Identity:
    """Stores each image as PNG: lossless, at an honest rate."""

    @property
    def card(self) -> ModelCard:
        """The Pillow version decides the rate."""
        return ModelCard(name="identity", config={"pillow": PIL.__version__})

    def load(self, device: str) -> None:
        """Nothing to load."""

    def encode(self, images: Tensor) -> list[Code]:
        """Encode each image as PNG."""
        codes = []
        for image in to_images(images):
            buffer = io.BytesIO()
            image.save(buffer, format="png", optimize=True)
            codes.append(Code(buffer.getvalue(), image.height, image.width))
        return codes

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode the PNG files."""
        del seeds
        return to_tensor([Image.open(io.BytesIO(code.payload)) for code in codes])
