"""Training images: decoded by one process, by a worker a core, and beside a paced device's steps.

Photographs of the sample set's size in pixels, times six, as JPEG files: 1536x1536 from 256x256.
The device is a stand-in: it takes batches as a GPU does, as bytes, costs no core and waits.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.machine import headline

IMAGES, SIDE, BATCH = 48, 1536, 16
ROUNDS = 3
STEPS = {False: 4, True: 16}
"""Steps of a round and a core, by whether JPEGs are decoded small: some seconds each."""
_SHARE = 0.8
"""Share of the workers' rate that the paced step asks for, so that the device is the bound."""


class Rate(NamedTuple):
    """How fast images come, and what they cost."""

    speed: float
    """Images a second."""
    cost: float
    """Milliseconds of processors an image, whoever else uses them."""


def main() -> None:
    """Print images a second, and the share of the time that a paced step waits for data."""
    cores = len(os.sched_getaffinity(0))
    table = Table("", "images/s", "CPU ms an image", f"of {cores} x one", f"of {cores} alone")
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as place,
        ProcessPoolExecutor(cores, spawn, initializer=_one_thread) as pool,
    ):
        write_photos(Path(place))
        for draft in (False, True):
            one, alone, together, wait = _measured(Path(place), cores, pool, draft=draft)
            name, bound = "draft" if draft else "whole", cores * one.speed
            for title, found, shares in (
                ("one process", one, ()),
                (f"{cores} alone", alone, (bound,)),
                (f"{cores} workers", together, (bound, alone.speed)),
            ):
                figures = f"{found.speed:.1f}", f"{found.cost:.1f}"
                cells = (f"{found.speed / share:.0%}" for share in shares)
                table.add_row(f"{name}, {title}", *figures, *cells)
            spared = f"{name}, paced at {_SHARE:.0%} of {max(1, cores - 1)} of them"
            table.add_row(spared, f"waits {wait:.1%}")
    console = Console(width=100)
    console.print(f"{headline()}; load {os.getloadavg()[0]:.1f}, of which {cores} are ours")
    console.print(f"{SIDE}x{SIDE} JPEG to 256x256, medians of {ROUNDS} rounds", table)


def _one_thread() -> None:
    """Decode as a worker does."""
    import torch

    torch.set_num_threads(1)


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


def _measured(
    folder: Path, cores: int, pool: ProcessPoolExecutor, *, draft: bool
) -> tuple[Rate, Rate, Rate, float]:
    """Medians of interleaved rounds.

    Returns:
        Rates of one process, of a process a core that know nothing of each other, and of a stream
        with a worker a core; and the share of its time that a paced device waits for workers who
        leave it one.
    """
    rounds: list[tuple[Rate, ...]] = []
    waits = []
    for _ in range(ROUNDS):
        (first,), others = (
            list(pool.map(partial(rate, folder, draft=draft), [0] * count)) for count in (1, cores)
        )
        alone = Rate(sum(each.speed for each in others), mean(each.cost for each in others))
        together = rate(folder, cores, draft=draft)
        workers = max(1, cores - 1)  # Whoever waits for them has a core of its own.
        pace = _SHARE * together.speed * workers / cores
        waits.append(waited(folder, workers, BATCH / pace, draft=draft))
        rounds.append((first, alone, together))
    one, alone, together = (
        Rate(*map(median, zip(*column, strict=True))) for column in zip(*rounds, strict=True)
    )
    return one, alone, together, median(waits)


def rate(folder: Path, workers: int, *, draft: bool, steps: int | None = None) -> Rate:
    """Measure a stream once its workers are there; 0 decode in this process."""
    batches, steps = _started(folder, workers, draft=draft), steps or STEPS[draft] * max(1, workers)
    start, used = time.perf_counter(), _used()
    for _ in range(steps):
        next(batches)
    images = BATCH * steps
    return Rate(images / (time.perf_counter() - start), 1000 * (_used() - used) / images)


def _used() -> float:
    """Seconds of processors that this process and its workers have used."""
    own = psutil.Process()
    return float(sum(sum(each.cpu_times()[:2]) for each in (own, *own.children())))


def waited(
    folder: Path, workers: int, step: float, *, draft: bool, steps: int | None = None
) -> float:
    """Share of the time that a device waits which takes so many seconds a step, and no core."""
    batches, steps = _started(folder, workers, draft=draft), steps or 2 * STEPS[draft] * workers
    # Where the device is the bound all that is read ahead lies ready: two batches a worker.
    time.sleep(2 * workers * step)
    waits, start = 0.0, time.perf_counter()
    for _ in range(steps):
        begin = time.perf_counter()
        next(batches)
        waits += time.perf_counter() - begin
        time.sleep(step)
    return waits / (time.perf_counter() - start)


def _started(folder: Path, workers: int, *, draft: bool) -> Iterator[object]:
    """Open a stream whose workers are at work: what they read ahead at first is no steady state."""
    from uniwetok.train.data.config import DataConfig
    from uniwetok.train.data.opening import open_images
    from uniwetok.train.data.schedule import Place
    from uniwetok.train.data.stream import TrainingImages

    config = DataConfig(workers=workers, draft=draft)
    # A device without data: batches go to it as bytes, and all it does with them is its own.
    images = TrainingImages(
        open_images(folder), config, Place(batch_size=BATCH, seed=0), device="meta"
    )
    batches = iter(images)
    for _ in range(3 * max(1, workers)):
        next(batches)
    return batches
