"""Codecs at a byte budget: the search beside a bisection over qualities, on the sample set."""

from __future__ import annotations

import bisect
import io
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.machine import headline
from harness.baselines.codecs import Avif, Codec, Jpeg, WebP
from harness.data.images import to_images, to_tensor
from harness.metrics.stats import over_cores
from tasks.shared.sample_set import SampleSet

BUDGETS = (1024, 2048)
_STEPS = range(1, 64)


class Counted:
    """Counts the files that a codec makes; sketches apart."""

    def __init__(self, kind: type[Codec]) -> None:
        self.files = self.sketches = 0
        self._file = kind.file

    def __call__(self, image: Image.Image, quality: int, **quicker: Any) -> bytes:
        """Make a file."""
        self.files += not quicker
        self.sketches += bool(quicker)
        return self._file(image, quality, **quicker)


def bisected(codec: Codec, image: Image.Image) -> bytes:
    """The highest quality that fits, as far as sizes rise with quality; before it, the scale."""
    budget = codec.budget(*image.size)
    low, high = codec.qualities

    def best(scaled: Image.Image) -> bytes | None:
        files = {low: codec.file(scaled, low)}

        def fits(quality: int) -> bool:
            files[quality] = codec.file(scaled, quality)
            return len(files[quality]) <= budget

        if len(files[low]) > budget:
            return None
        return files[_largest(range(low + 1, high + 1), fits) or low]

    def scaled(step: int) -> Image.Image:
        size = image.width * step // 64, image.height * step // 64
        return image.resize(size, Image.Resampling.LANCZOS)

    found = best(image)
    if found is None:
        step = _largest(_STEPS, lambda step: len(codec.file(scaled(step), low)) <= budget)
        found = best(scaled(step or 1))
    return found or b""


def _largest(numbers: range, fits: Callable[[int], bool]) -> int | None:
    falling = numbers[::-1]
    place = bisect.bisect_left(falling, True, key=fits)
    return falling[place] if place < len(falling) else None


def main() -> None:
    """Print files made and CPU time an image, image by image in turn; then of all on every core."""
    source = SampleSet()
    images = [Image.open(io.BytesIO(source.read(name))).convert("RGB") for name in source.ids()]
    names = "codec", "bisected: files", "CPU ms", "search: files", "sketches", "CPU ms", "faster"
    table = Table(*names, "same file", "larger", "smaller")
    together = Table(
        "all images", "bisected on one core: seconds", "search on every core", "faster"
    )
    for kind in (WebP, Avif, Jpeg):
        kind.levels()
        for budget in BUDGETS:
            table.add_row(*_row(kind(budget), images))
            together.add_row(*_on_every_core(kind(budget), images))
    console = Console(width=120)
    console.print(headline())
    console.print(table, together)


def _row(codec: Codec, images: list[Image.Image]) -> list[str]:
    before, after = Counted(type(codec)), Counted(type(codec))
    seconds, files = [0.0, 0.0], (list[bytes](), list[bytes]())
    ways = (
        (before, lambda images: bisected(codec, to_images(images)[0])),
        (after, lambda images: codec.encode(images)[0].payload),
    )
    for image in map(to_tensor, ([image] for image in images)):
        for side, (counted, way) in enumerate(ways):
            with mock.patch.object(type(codec), "file", counted):
                start = time.thread_time()
                files[side].append(way(image))
                seconds[side] += time.thread_time() - start
    n = len(images)
    gains = [len(new) - len(old) for old, new in zip(*files, strict=True)]
    return [
        f"{codec.name}:{codec.bytes}",
        f"{before.files / n:.1f}",
        f"{1000 * seconds[0] / n:.1f}",
        f"{after.files / n:.1f}",
        f"{after.sketches / n:.1f}",
        f"{1000 * seconds[1] / n:.1f}",
        f"{seconds[0] / seconds[1]:.2f}",
        str(sum(old == new for old, new in zip(*files, strict=True))),
        str(sum(gain > 0 for gain in gains)),
        str(sum(gain < 0 for gain in gains)),
    ]


def _on_every_core(codec: Codec, images: list[Image.Image]) -> list[str]:
    """Seconds on the clock: one image after another, as a run once coded them, and as it does."""
    each = [to_tensor([image]) for image in images]
    start = time.perf_counter()
    for image in each:
        bisected(codec, to_images(image)[0])
    middle = time.perf_counter()
    over_cores(codec.encode, each)
    before, after = middle - start, time.perf_counter() - middle
    return [f"{codec.name}:{codec.bytes}", f"{before:.2f}", f"{after:.2f}", f"{before / after:.2f}"]
