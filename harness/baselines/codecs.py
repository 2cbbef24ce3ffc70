"""WebP, JPEG and AVIF at a byte budget, rivals of a tokenizer at its own rate; and the identity.

For every image the highest quality that fits into the budget is found (`fitting` says how surely);
where even the lowest does not fit, the image is scaled down before coding as far as needed, and
scaled up after decoding.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import PIL
from PIL import Image, features
from pydantic import Field

from harness.baselines.fitting import Rise, highest_that_fits
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
_OF_SCALES = Rise(0.03, ahead=5, far=1 / 16)
"""Files of scaled images grow in steps, by whole blocks of pixels."""
_SEARCH = 2
"""Version of the search; a card names it, for another may find other qualities."""

Rung = tuple[tuple[int, int], int]
"""Width and height that an image is scaled to, and the quality it is coded with."""


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
    sketch: ClassVar[dict[str, Any]] = {}
    """Settings that are quicker; sizes of such files say where the search begins."""
    sketch_ratio: ClassVar[float] = 1.0
    """About what a file takes of the bytes of its sketch."""
    rise: ClassVar[Rise]
    """How sizes rise with quality. Further above, none fitted of any photograph of the sample set,
    at any budget."""

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
        config = {
            "bytes": self.bytes,
            "pillow": PIL.__version__,
            "search": _SEARCH,
            **self.settings,
        }
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
                decoded.append(
                    _resized(
                        image.convert("RGB"), (code.width, code.height), Image.Resampling.BICUBIC
                    )
                )
        return to_tensor(decoded)

    @classmethod
    def levels(cls) -> Sequence[int]:
        """The qualities that give different files, rising."""
        low, high = cls.qualities
        return range(low, high + 1)

    @classmethod
    def file(cls, image: Image.Image, quality: int, **quicker: Any) -> bytes:
        """An image in one quality."""
        buffer = io.BytesIO()
        image.save(buffer, format=cls.name, quality=quality, **cls.settings | quicker)
        return buffer.getvalue()

    def _fit(self, image: Image.Image) -> bytes:
        budget, levels = self.budget(*image.size), self.levels()
        made: dict[Rung, bytes] = {}

        @functools.cache
        def scaled(size: tuple[int, int]) -> Image.Image:
            return _resized(image, size, Image.Resampling.LANCZOS)

        def highest(rungs: Sequence[Rung], start: int) -> int | None:
            def file(place: int, **quicker: Any) -> bytes:
                size, quality = rungs[place]
                return self.file(scaled(size), quality, **quicker)

            def size(place: int) -> float:
                if rungs[place] not in made:
                    made[rungs[place]] = file(place)
                return len(made[rungs[place]])

            def sketch(place: int) -> float:
                if rungs[place] in made or not self.sketch:
                    return size(place)
                return len(file(place, **self.sketch)) * self.sketch_ratio

            def rise(place: int) -> Rise:
                return self.rise if rungs[max(place, 0)][0] == rungs[-1][0] else _OF_SCALES

            return highest_that_fits(len(rungs), budget, size, sketch, rise, start)

        small = [(size, levels[0]) for size in _smaller(*image.size)]
        rungs = small + [(image.size, quality) for quality in levels]
        best = highest(rungs, len(small))
        if best is not None and best < len(small):
            rungs = [(rungs[best][0], quality) for quality in levels]
            best = highest(rungs, 0)
        if best is None:
            raise ValueError(
                f"{self.name} cannot code {image.width}x{image.height} pixels in {budget} bytes"
            )
        return made[rungs[best]]


def _smaller(width: int, height: int) -> list[tuple[int, int]]:
    """The sizes that an image may be scaled down to, rising."""
    sizes = {
        (max(1, width * step // _SCALE_STEPS), max(1, height * step // _SCALE_STEPS)): None
        for step in range(1, _SCALE_STEPS)
    }
    return [size for size in sizes if size != (width, height)]


def _resized(image: Image.Image, size: tuple[int, int], kernel: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, kernel)


class WebP(Codec):
    """Lossy WebP, slowest method."""

    name = "webp"
    feature = "webp"
    qualities = (0, 100)
    settings = {"method": 6}  # noqa: RUF012
    sketch = {"method": 2}  # noqa: RUF012
    sketch_ratio = 0.87
    rise = Rise(0.03, ahead=3, far=1 / 25)


class Jpeg(Codec):
    """Baseline JPEG with optimised tables and 4:2:0 chroma."""

    name = "jpeg"
    feature = "jpg"
    qualities = (1, 95)
    settings = {"optimize": True, "subsampling": "4:2:0"}  # noqa: RUF012
    rise = Rise(0.04, ahead=5, far=1 / 25)


class Avif(Codec):
    """AVIF with 4:2:0 chroma; one thread, so that the bytes never depend on the machine."""

    name = "avif"
    feature = "avif"
    qualities = (0, 100)
    settings = {"speed": 6, "subsampling": "4:2:0", "max_threads": 1}  # noqa: RUF012
    sketch = {"speed": 9}  # noqa: RUF012
    sketch_ratio = 0.9
    rise = Rise(0.055, ahead=1, far=0)

    @classmethod
    @functools.cache
    def levels(cls) -> Sequence[int]:
        """The highest quality of each quantiser, which the smallest file tells: its header has it.

        AV1 has fewer quantisers here than there are qualities.
        """
        pixel = Image.new("RGB", (1, 1))
        every = super().levels()
        return list({cls.file(pixel, level, **cls.sketch): level for level in every}.values())


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
