"""Training images: decoded by one process, by a worker a core, and beside a step of a paced device.

Photographs of the sample set's size in pixels, times six, as JPEG files: 1536x1536 from 256x256.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

IMAGES, SIDE, BATCH = 48, 1536, 16
ROUNDS = 3
STEPS = 24
_SHARE = 0.8
"""Share of the workers' rate that the paced step asks for, so that the device is the bound."""


def main() -> None:
    """Print images a second, and the share of the time that a paced step waits for data."""
    cores = len(os.sched_getaffinity(0))
    table = Table("", "images/s", "of cores x one", title=f"{SIDE}x{SIDE} JPEG to 256x256")
    with tempfile.TemporaryDirectory() as place:
        write_photos(Path(place))
        for draft in (False, True):
            alone, together = _rates(Path(place), cores, draft=draft)
            name = "draft" if draft else "whole"
            table.add_row(f"{name}, one process", f"{alone:.1f}", "")
            share = f"{together / (cores * alone):.0%}"
            table.add_row(f"{name}, {cores} workers", f"{together:.1f}", share)
            wait = waited(Path(place), cores, BATCH / (_SHARE * together), draft=draft)
            table.add_row(f"{name}, paced at {_SHARE:.0%} of that", "", f"waits {wait:.1%}")
    Console().print(table)


def write_photos(folder: Path, images: int = IMAGES, side: int = SIDE) -> None:
    """Write photographs as large JPEGs."""
    from harness.data.images import DecodeRule, decode_image
    from tasks.shared.sample_set import SampleSet

    source = SampleSet()
    rule = DecodeRule(exif="ignore", alpha="drop", sixteen_bit="clip")
    for index, name in enumerate(itertools.islice(itertools.cycle(source.ids()), images)):
        image = decode_image(source.read(name), rule)
        large = image.resize((side, side), Image.Resampling.BICUBIC)
        large.save(folder / f"{index:04d}.jpg", quality=90)


def _rates(folder: Path, cores: int, *, draft: bool) -> tuple[float, float]:
    """Images a second of one process and of a worker a core, medians of interleaved rounds."""
    found: dict[int, list[float]] = {0: [], cores: []}
    for _ in range(ROUNDS):
        for workers, rates in found.items():
            rates.append(rate(folder, workers, draft=draft))
    return statistics.median(found[0]), statistics.median(found[cores])


def rate(folder: Path, workers: int, *, draft: bool, steps: int = STEPS) -> float:
    """Images a second once the workers are there."""
    batches = _stream(folder, workers, draft=draft)
    for _ in range(3 * max(1, workers)):  # What is read ahead while they start is no steady state.
        next(batches)
    start = time.perf_counter()
    for _ in range(steps):
        next(batches)
    return BATCH * steps / (time.perf_counter() - start)


def waited(folder: Path, workers: int, step: float, *, draft: bool, steps: int = STEPS) -> float:
    """Share of the time that a device waits which takes so many seconds a step, and no core."""
    batches = _stream(folder, workers, draft=draft)
    for _ in range(3 * max(1, workers)):
        next(batches)
    waits, start = 0.0, time.perf_counter()
    for _ in range(steps):
        begin = time.perf_counter()
        next(batches)
        waits += time.perf_counter() - begin
        time.sleep(step)
    return waits / (time.perf_counter() - start)


def _stream(folder: Path, workers: int, *, draft: bool) -> Iterator[object]:
    from uniwetok.train.data.config import DataConfig
    from uniwetok.train.data.opening import open_images
    from uniwetok.train.data.schedule import Place
    from uniwetok.train.data.stream import TrainingImages

    config = DataConfig(workers=workers, draft=draft)
    return iter(TrainingImages(open_images(folder), config, Place(batch_size=BATCH, seed=0)))
