"""WebP, JPEG and AVIF at a byte budget, rivals of a tokenizer at its own rate; and the identity.

For every image the highest quality that fits into the budget is found; where even the lowest does
not fit, the image is scaled down before coding as far as needed, and scaled up after decoding.
"""

from __future__ import annotations

import bisect
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import PIL
from PIL import Image, features
from pydantic import Field

from harness.data.images import to_images, to_tensor
from harness.interfaces import Argument, Code
from harness.interfaces.errors import UserError
from harness.interfaces.types import ModelCard
from uwt_images.decoding import RASTER_FORMATS

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_BYTES = 1024
"""What UniWeTok spends on 256x256 pixels: 64 tokens of 128 bits."""
_TOKEN_SIDE = 32
_TOKENS = (256 // _TOKEN_SIDE) ** 2
_SCALE_STEPS = 64
"""The downscale is searched among sides of k/64 of the original."""


class Codec:
    """One Pillow encoder."""

    concurrent = True
    works_on = "cpu"

    name: ClassVar[str]
    """Registry name, and Pillow's name of the format."""
    feature: ClassVar[str]
    """Pillow's name of the library behind it."""
    qualities: ClassVar[tuple[int, int]]
    """Lowest and highest quality."""
    settings: ClassVar[dict[str, Any]]
    """Encoder settings beside the quality, chosen for the smallest file."""

    def __init__(
        self,
        bytes: Annotated[
            int,
            Argument,
            Field(ge=1),
            "Budget for 256x256 pixels; other sizes get the share of their 32x32 tiles, as a "
            "tokenizer that downsamples by 32 would spend it.",
        ] = DEFAULT_BYTES,
    ) -> None:
        self.bytes = bytes

    @property
    def card(self) -> ModelCard:
        """Codec, budget and the Pillow whose encoder it is."""
        label = "" if self.bytes == DEFAULT_BYTES else f"{self.name}:{self.bytes}"
        config = {"bytes": self.bytes, "pillow": PIL.__version__, **self.settings}
        return ModelCard(name=self.name, label=label, config=config)

    def load(self, device: str) -> None:
        """Check that this Pillow has the codec; codecs run on the CPU whatever the device."""
        del device
        if not features.check(self.feature):
            raise UserError(f"this Pillow {PIL.__version__} was built without {self.name}")

    def budget(self, width: int, height: int) -> int:
        """Bytes that an image of this size may take."""
        tiles = -(-width // _TOKEN_SIDE) * -(-height // _TOKEN_SIDE)
        return self.bytes * tiles // _TOKENS

    def encode(self, images: Tensor) -> list[Code]:
        """Encode each image within its budget; raise `ValueError` where nothing fits."""
        return [Code(self._fit(image), image.height, image.width) for image in to_images(images)]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode and scale back up to the original size."""
        del seeds
        decoded = []
        for code in codes:
            with Image.open(io.BytesIO(code.payload), formats=RASTER_FORMATS) as image:
                decoded.append(_resized(image.convert("RGB"), code.width, code.height))
        return to_tensor(decoded)

    def _fit(self, image: Image.Image) -> bytes:
        budget = self.budget(*image.size)
        best = self._best_quality(image, budget)
        if best is not None:
            return best
        step = _largest(
            range(1, _SCALE_STEPS),
            lambda step: len(self._bytes(_scaled(image, step), self.qualities[0])) <= budget,
        )
        best = self._best_quality(_scaled(image, step), budget) if step else None
        if best is None:
            raise ValueError(
                f"{self.name} cannot code {image.width}x{image.height} pixels in {budget} bytes"
            )
        return best

    def _best_quality(self, image: Image.Image, budget: int) -> bytes | None:
        """The largest quality whose file fits, by bisection; None where the lowest does not."""
        low, high = self.qualities
        files = {low: self._bytes(image, low)}
        if len(files[low]) > budget:
            return None

        def fits(quality: int) -> bool:
            files[quality] = self._bytes(image, quality)
            return len(files[quality]) <= budget

        return files[_largest(range(low + 1, high + 1), fits) or low]

    def _bytes(self, image: Image.Image, quality: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format=self.name, quality=quality, **self.settings)
        return buffer.getvalue()


def _largest(numbers: range, fits: Callable[[int], bool]) -> int | None:
    """The largest number that fits, by bisection; None where none does."""
    falling = numbers[::-1]
    place = bisect.bisect_left(falling, True, key=fits)
    return falling[place] if place < len(falling) else None


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _scaled(image: Image.Image, step: int) -> Image.Image:
    width = max(1, image.width * step // _SCALE_STEPS)
    height = max(1, image.height * step // _SCALE_STEPS)
    return image.resize((width, height), Image.Resampling.LANCZOS)


class WebP(Codec):
    """Lossy WebP, slowest method."""

    name = "webp"
    feature = "webp"
    qualities = (0, 100)
    settings = {"method": 6}  # noqa: RUF012


class Jpeg(Codec):
    """Baseline JPEG with optimised tables and 4:2:0 chroma."""

    name = "jpeg"
    feature = "jpg"
    qualities = (1, 95)
    settings = {"optimize": True, "subsampling": "4:2:0"}  # noqa: RUF012


class Avif(Codec):
    """AVIF with 4:2:0 chroma; one thread, so that the bytes never depend on the machine."""

    name = "avif"
    feature = "avif"
    qualities = (0, 100)
    settings = {"speed": 6, "subsampling": "4:2:0", "max_threads": 1}  # noqa: RUF012


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
