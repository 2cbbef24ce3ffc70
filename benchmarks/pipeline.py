"""The engine beside a paced device: whether reading, measuring and writing hide behind it.

The device is a stand-in that waits, without the interpreter's lock, as long as the networks of the
paper take on an H100 (figures of benchmarks/RESULTS.md and of its operation counts); everything
else is the product: JPEG files are read and cropped, PSNR and SSIM measured, parts written.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.machine import headline
from harness.data.images import DecodeRule
from harness.data.manifest import GPU_BLOCK, block_size
from harness.data.store import Store
from harness.engine.plan import Plan, make_plan
from harness.engine.runner import lanes_of
from harness.engine.work import Worker
from harness.engine.world import World, reproducible
from harness.interfaces import Code, Columns, RunRequest
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard
from harness.metrics import feature_cache
from harness.metrics.extractors import FeatureExtractor, Pixels
from harness.sets import observe
from harness.sets.images import open_images
from harness.sets.observe import observe_pairs, observe_set

if TYPE_CHECKING:
    from torch import Tensor

    from harness.metrics.networks import FeatureNetwork

IMAGES = 1024
MANY = 16_384
SIDE = 256
DEVICE = "paced"
_ROUNDS = 3
"""Of which the best counts, where cores are measured that others work on too."""


@dataclass(frozen=True)
class Pace:
    """Milliseconds an image that the device takes."""

    title: str
    encode: float = 0.0
    decode: float = 0.0
    sample: float = 0.0
    lpips: float = 2.0
    inception: float = 0.6

    @property
    def total(self) -> float:
        """All of it, one after the other, as one device does it."""
        return self.encode + self.decode + self.sample + self.lpips + self.inception


PACES = (
    Pace("tokenizer, strict float32", encode=4.3, decode=5.7),
    Pace("tokenizer, bfloat16", encode=0.6, decode=0.7),
    Pace("LPIPS and Inception alone"),
    Pace("class-to-image sampling, B", sample=14.0, decode=0.7, lpips=0.0, inception=0.3),
)


_DEVICE_AT_WORK = threading.Lock()


def wait(count: int, milliseconds: float) -> None:
    """Let the device work on some images, one thing after the other as one that is full does."""
    with _DEVICE_AT_WORK:
        time.sleep(count * milliseconds / 1000)


class _Paced:
    card = ModelCard(name="paced")

    def __init__(self, pace: Pace = PACES[0]) -> None:
        self._pace = pace

    def load(self, device: str) -> None:
        """Nothing to load."""

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Grey images, which cost the processor nothing, as those that a device makes."""
        del seeds
        wait(len(codes), self._pace.decode)
        return _grey(codes[0].height, codes[0].width)[: len(codes)]


@functools.cache
def _grey(height: int, width: int) -> Tensor:
    import torch

    return torch.zeros(GPU_BLOCK, 3, height, width)


@MODELS.register("paced-tokenizer")
class PacedTokenizer(_Paced):
    """Waits as a tokenizer would compute."""

    def encode(self, images: Tensor) -> list[Code]:
        """Codes of the paper's size."""
        wait(len(images), self._pace.encode)
        height, width = images.shape[2:]
        return [Code(bytes(1024), height, width) for _ in images]


@MODELS.register("paced-drawer")
class PacedDrawer(_Paced):
    """Waits as a class-to-image model would draw."""

    classes = 55

    def sample(self, labels: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        """Codes of the paper's size."""
        del seeds
        wait(len(labels), self._pace.sample)
        return [Code(bytes(1024), SIDE, SIDE) for _ in labels]


class PacedNetwork:
    """Waits as a metric's network would, and gives as many numbers.

    Args:
        milliseconds: What it takes an image.
        width: Numbers an image; features of both sides are stored where more than one.
    """

    concurrent = True
    beside_model = True
    identity: Mapping[str, Any] = {"version": 1}

    def __init__(self, milliseconds: float, width: int) -> None:
        self._milliseconds = milliseconds
        self._rows = np.zeros((GPU_BLOCK, width), np.float32)

    def observe(self, pairs: Any) -> Columns:
        """Numbers of no meaning."""
        images = getattr(pairs, "reconstruction_uint8", getattr(pairs, "images_uint8", ()))
        wait(len(images), self._milliseconds)
        rows = self._rows[: len(images)]
        return {"reference": rows, "output": rows} if rows.shape[1] > 1 else {"value": rows[:, 0]}


def pictures(folder: Path, count: int, size: tuple[int, int] = (500, 375)) -> None:
    """Write JPEG files, of the pixels that ImageNet's have: noise on smooth fields."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        draw = np.random.default_rng(number)
        field = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(field.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(smooth + draw.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:05}.jpg", quality=90)


def plan_of(pace: Pace, data: Path, out: Path, count: int) -> Plan:
    """A run on the paced device, of the stages that one on a GPU has."""
    draws = pace.sample > 0
    request = RunRequest(
        task="imagenet-gen" if draws else "imagenet-recon",
        model="paced-drawer" if draws else "paced-tokenizer",
        protocol="nano" if draws else None,
        data=None if draws else str(data),
        limit=count,
        metrics=() if draws else ("psnr", "ssim"),
        out=out,
    )
    plan = make_plan(request, World())
    networks = {
        "lpips": PacedNetwork(pace.lpips, 1),
        "inception": PacedNetwork(pace.inception, 2048),
    }
    extractors = {name: each for name, each in plan.extractors.items() if name == "pixels"}
    extractors |= {name: each for name, each in networks.items() if getattr(pace, name)}
    count = len(plan.file.samples)
    file = plan.file.model_copy(
        update={
            "extractors": {name: dict(each.identity) for name, each in extractors.items()},
            "block_size": block_size(DEVICE, count),
        }
    )
    model = PacedDrawer(pace) if draws else PacedTokenizer(pace)
    return dataclasses.replace(
        plan,
        file=file,
        model=model,
        extractors=extractors,
        device=DEVICE,
        batch_size=GPU_BLOCK,
    )


def seconds_of(plan: Plan, world: World, lanes: int | None = None) -> float:
    """How long this process's share of a run takes."""
    Store(plan.root).root.mkdir(parents=True, exist_ok=True)
    with reproducible(plan.device) as cores:
        start = time.perf_counter()
        worker = Worker(plan, Store(plan.root), world, lanes or lanes_of(plan, cores))
        worker.run(lambda _: None)
    return time.perf_counter() - start


class PacedFeatures:
    """Waits as Inception would, for the features of one side."""

    scaling = "byte"

    def prepare(self, images: Tensor) -> Tensor:
        """Nothing: a device resizes within its time."""
        return images[:, :1, 0, 0]

    def extract(self, prepared: Tensor) -> dict[str, Tensor]:
        """Numbers of no meaning."""
        import torch

        wait(len(prepared), PACES[2].inception / 2)
        return {"paced": torch.zeros(len(prepared), 2048)}


_NUMBERS = itertools.count()


class PacedInception(FeatureExtractor):
    """Features of sets of images on the paced device."""

    output = "paced"
    identity: Mapping[str, Any] = {"version": 1}

    @functools.cached_property
    def _number(self) -> int:
        return next(_NUMBERS)

    @property
    def network_identity(self) -> Mapping[str, Any]:
        """Another with every extractor, so that nothing comes from the cache."""
        return {**self.identity, "extractor": self._number}

    def build(self) -> FeatureNetwork:
        """Make the network."""
        return PacedFeatures()


def main() -> None:
    """Print images/s beside what the device alone would allow."""
    console = Console(width=100)
    console.print(headline())
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        pictures(data, IMAGES)
        console.print(_lanes_table(data, Path(scratch)))
        console.print(_sets_table(data, Path(scratch)))
        console.print(_processes_table(data, Path(scratch)))
        console.print(_memory_table(data, Path(scratch)))


def _lanes_table(data: Path, scratch: Path) -> Table:
    """Images/s beside the slowest of device and cores, each alone in the same minutes."""
    table = Table(
        *("one device", "images", "device alone", "cores alone", "one lane", "overlapped"),
        *("slowest", "share"),
    )
    for pace in PACES:
        device, cells, count = 1000 / pace.total, [], 0
        for lanes, waits in ((None, False), (1, True), (None, True)):
            plan = plan_of(pace, data, scratch / f"{pace.title}-{len(cells)}", IMAGES)
            count = len(plan.file.samples)
            with nullcontext() if waits else mock.patch.object(time, "sleep"):
                cells.append(count / seconds_of(plan, World(), lanes))
        bound = min(device, cells[0])
        table.add_row(
            *(pace.title, str(count), *(f"{speed:.0f}" for speed in (device, *cells))),
            *("device" if bound == device else "cores", f"{cells[-1] / bound:.0%}"),
        )
    return table


def _sets_table(data: Path, scratch: Path) -> Table:
    """`uwt-eval metrics A B` beside the slowest of device and cores, each alone."""
    table = Table("two sets, one device", "device", "cores", "one lane", "overlapped", "share")
    images = open_images(str(data), DecodeRule(exif="ignore", alpha="drop", sixteen_bit="clip"))
    pixels = Pixels({"ssim": {"window": "uniform7"}, "pixels": {"dtype": "uint8"}}, "cpu")
    pace = PACES[2]

    def features(device: str) -> None:
        observe_set(images, [PacedInception({}, device)], device)

    def pairs(device: str) -> None:
        network = PacedNetwork(pace.lpips, 1)
        observe_pairs(images, images, {"pixels": pixels, "lpips": network}, device)

    folder = mock.patch.dict(os.environ, UWT_EVAL_CACHE=str(scratch / "cache"))
    with folder, mock.patch.object(feature_cache, "_machine", lambda device: {"device": device}):
        for title, work, each in (
            ("features, Inception", features, pace.inception / 2),
            ("pairs, PSNR, SSIM and LPIPS", pairs, pace.lpips),
        ):
            best = {"cores": 0.0, "one lane": 0.0, "overlapped": 0.0}
            for _ in range(_ROUNDS):
                with mock.patch.object(time, "sleep"):
                    best["cores"] = max(best["cores"], _speed(work))
                with mock.patch.object(observe, "lanes_for", return_value=1):
                    best["one lane"] = max(best["one lane"], _speed(work))
                best["overlapped"] = max(best["overlapped"], _speed(work))
            bound = min(best["cores"], 1000 / each)
            cells = [f"{speed:.0f}" for speed in (1000 / each, *best.values())]
            table.add_row(title, *cells, f"{best['overlapped'] / bound:.0%}")
    return table


def _speed(work: Callable[[str], None]) -> float:
    start = time.perf_counter()
    work(DEVICE)
    return IMAGES / (time.perf_counter() - start)


def _processes_table(data: Path, scratch: Path) -> Table:
    table = Table("devices, a process each", "bound", "images/s", "share")
    pace = PACES[0]
    for size in (1, 2, 4):
        context = multiprocessing.get_context("spawn")
        ready, times = context.Barrier(size), context.Queue()
        given = data, scratch / f"{size}-processes", size, ready, times
        workers = [context.Process(target=_share, args=(rank, *given)) for rank in range(size)]
        for worker in workers:
            worker.start()
        speed = IMAGES / max(times.get() for _ in workers)
        for worker in workers:
            worker.join()
        bound = size * 1000 / pace.total
        table.add_row(
            f"{size}, {pace.title}", f"{bound:.0f}", f"{speed:.0f}", f"{speed / bound:.0%}"
        )
    return table


def _share(rank: int, data: Path, out: Path, size: int, ready: Any, times: Any) -> None:
    plan = plan_of(PACES[0], data, out, IMAGES)
    ready.wait()
    times.put(seconds_of(plan, World(rank, size)))


def _memory_table(data: Path, scratch: Path) -> Table:
    """Peak memory of a process that reads the same pictures under many names."""
    table = Table("images", "peak memory in MB", "images/s")
    more = scratch / "more"
    more.mkdir()
    files = sorted(data.iterdir())
    for number in range(MANY):
        (more / f"{number:05}.jpg").hardlink_to(files[number % len(files)])
    for count in (IMAGES, MANY):
        plan = plan_of(PACES[1], more, scratch / f"memory-{count}", count)
        speed = count / seconds_of(plan, World())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        table.add_row(str(count), f"{peak:.0f}", f"{speed:.0f}")
    return table
