"""WebP, JPEG and AVIF at a byte budget, rivals of a tokenizer at its own rate.

For every image the highest quality that fits is found (`highest_that_fits` says how surely);
where even the lowest does not fit, the image is scaled down before coding as far as needed, and
scaled up after decoding.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

Sizes = Callable[[int], float]
"""Bytes of the file at the setting of a number; they mostly rise with it."""

_GUESSES = 6
"""Files after which the gap between what fits and what does not is halved, not guessed at."""
_NEAR = 2
"""A step so short is not worth another sketch."""


@dataclass(frozen=True)
class Rise:
    """How sizes rise from one setting to the next, and how far they are known to fall back."""

    growth: float
    """About what the logarithm of a size gains; it only says where to look first."""
    falls: tuple[float, ...]
    """By how much the file of a setting may be larger than that of the next, of the second next and
    so on; further above none is smaller."""


DEFAULT_BYTES = 1024
"""What UniWeTok spends on 256x256 pixels: 64 tokens of 128 bits."""
_TOKEN_SIDE = 32
_TOKENS = (256 // _TOKEN_SIDE) ** 2
_SCALE_STEPS = 64
"""The downscale is searched among sides of k/64 of the original."""
_OF_SCALES = Rise(0.03, falls=(1 / 16,) * 4)
"""Files of scaled images grow in steps, by whole blocks of pixels."""
_SEARCH = 3
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
    """How sizes rise with quality; no photograph of the sample set falls back as far."""
    ladder: ClassVar[Mapping[str, Sequence[int]]] = {"bytes": (512, 1024, 2048, 4096, 8192)}
    """Rates of `uwt-eval sweep`: 1/16 to 1 bit per pixel of 256x256 pixels."""

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
        return self.bytes * _tiles(width, height) // _TOKENS

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
                if not self.sketch:
                    return size(place)
                return len(file(place, **self.sketch)) * self.sketch_ratio

            def rise(place: int) -> Rise:
                return self.rise if rungs[max(place, 0)][0] == rungs[-1][0] else _OF_SCALES

            return highest_that_fits(len(rungs), budget, size, sketch, rise, start)

        small = [(size, levels[0]) for size in _smaller(*image.size)]
        rungs = small + [(image.size, quality) for quality in levels]
        smallest, _ = rungs[0]
        best = highest(rungs, len(small))
        if best is not None and best < len(small):
            rungs = [(rungs[best][0], quality) for quality in levels]
            best = highest(rungs, 0)
        if best is None:
            least = len(self.file(scaled(smallest), levels[0]))
            enough = -(-least * _TOKENS // _tiles(*image.size))
            lower = "" if self.name == "webp" else ", or webp, whose files are the smallest"
            raise ValueError(
                f"{self.name} cannot code {image.width}x{image.height} pixels in {budget} bytes: "
                f"its smallest file takes {least}, so give {self.name}:{enough} or more{lower}"
            )
        return made[rungs[best]]


def _tiles(width: int, height: int) -> int:
    """Tokens that a tokenizer would spend on the pixels."""
    return -(-width // _TOKEN_SIDE) * -(-height // _TOKEN_SIDE)


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
    rise = Rise(0.03, falls=(0.04, 0.025))


class Jpeg(Codec):
    """Baseline JPEG with optimised tables and 4:2:0 chroma."""

    name = "jpeg"
    feature = "jpg"
    qualities = (1, 95)
    settings = {"optimize": True, "subsampling": "4:2:0"}  # noqa: RUF012
    rise = Rise(0.04, falls=(math.inf,) * 4)  # Coarse tables may make a far smaller file.


class Avif(Codec):
    """AVIF with 4:2:0 chroma; one thread, so that the bytes never depend on the machine."""

    name = "avif"
    feature = "avif"
    qualities = (0, 100)
    settings = {"speed": 6, "subsampling": "4:2:0", "max_threads": 1}  # noqa: RUF012
    sketch = {"speed": 9}  # noqa: RUF012
    sketch_ratio = 0.9
    rise = Rise(0.055, falls=(0.008,))

    @classmethod
    @functools.cache
    def levels(cls) -> Sequence[int]:
        """The highest quality of each quantiser, which the smallest file tells: its header has it.

        AV1 has fewer quantisers here than there are qualities.
        """
        pixel = Image.new("RGB", (1, 1))
        every = super().levels()
        return list({cls.file(pixel, level, **cls.sketch): level for level in every}.values())


def highest_that_fits(
    settings: int,
    budget: int,
    size: Sizes,
    sketch: Sizes,
    rise: Callable[[int], Rise],
    start: int,
) -> int | None:
    """The highest setting whose file takes at most `budget` bytes; None where none was found.

    What is returned fits, and the next does not. Of those above it every file was made that may fit
    by the files that were made below it, and none fits. So it is the highest of all, unless sizes
    fall back by more, or after more settings, than `Rise.falls` says.

    Args:
        settings: How many there are, numbered from 0.
        budget: In bytes.
        size: Of the file itself.
        sketch: What the file will take, by one that is quicker to make.
        rise: How sizes rise at a setting, -1 for below all.
        start: Where sketches begin.
    """
    if budget < 1:
        return None
    made, drawn, ratio = dict[int, float](), dict[int, float](), 1.0
    while True:
        best, over = _bracket(made, budget, settings)
        if over - best > 1:
            # How the last file stood to its sketch says what the other sketches stand for.
            between = {place: drawn[place] * ratio for place in drawn if best < place < over}
            at, near = _next(made | between, budget, best, over, rise, start)
            if len(made) >= _GUESSES:
                at = (best + over) // 2
            elif not near and len(drawn) < _GUESSES:
                drawn[at] = sketch(at)
                continue
            made[at] = size(at)
            ratio = made[at] / drawn[at] if at in drawn else ratio
            continue
        falls = rise(best).falls
        above = range(over + 1, min(over + len(falls) + 1, settings))
        doubtful = (at for at in above if _may_fit(at, made, budget, over, falls))
        if (next_at := next(doubtful, None)) is None:
            return best if best >= 0 else None
        made[next_at] = size(next_at)


def _may_fit(
    at: int, made: Mapping[int, float], budget: int, over: int, falls: Sequence[float]
) -> bool:
    """Whether a file that is not made may fit: none from `over` on is so large that it cannot."""
    return at not in made and all(
        made[at - back] <= budget * (1 + fall)
        for back, fall in enumerate(falls, 1)
        if at - back >= over and at - back in made
    )


def _next(
    sizes: Mapping[int, float],
    budget: int,
    best: int,
    over: int,
    rise: Callable[[int], Rise],
    start: int,
) -> tuple[int, bool]:
    """The setting strictly between two to look at next; whether that of one so near is known."""
    if not sizes:
        return start, False
    fits, beyond = _bracket({place: sizes[place] for place in sizes if place <= over}, budget, over)
    if beyond - fits == 1:
        return (fits if fits > best else beyond), True
    at = _guess(sizes, budget, fits, beyond, rise)
    return at, min(abs(at - place) for place in sizes) <= _NEAR


def _bracket(sizes: Mapping[int, float], budget: int, settings: int) -> tuple[int, int]:
    """The highest setting known to fit, -1 for none, and the next that is known not to."""
    fits = max((place for place, took in sizes.items() if took <= budget), default=-1)
    return fits, min((place for place in sizes if place > fits), default=settings)


def _guess(
    sizes: Mapping[int, float], budget: int, fits: int, over: int, rise: Callable[[int], Rise]
) -> int:
    """The setting strictly between two where a straight line of logarithms crosses the budget.

    The line goes through both where their sizes are known; otherwise it is as steep as sizes rise.
    """
    room = {place: math.log(budget / sizes[place]) for place in (fits, over) if place in sizes}
    if len(room) == 2:
        crossing = fits + (over - fits) * room[fits] / (room[fits] - room[over])
    else:
        place = next(iter(room))
        crossing = place + room[place] / rise(place).growth
    return min(max(math.floor(crossing), fits + 1), over - 1)
