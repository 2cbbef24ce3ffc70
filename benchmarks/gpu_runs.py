"""Whole runs beside the forward passes of their networks alone: what reading and measuring leave.

Networks have random weights. A CPU runs all of it too, at a tiny size.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from rich.console import Console

from benchmarks.ar.options import SIZES
from benchmarks.ar.sides import awake
from benchmarks.mllm.small import small_assistant
from benchmarks.pipeline import pictures
from benchmarks.random_weights import random_inception_state_dict, random_trunk_state_dict
from benchmarks.vqa import ASKED, picture_of, write_copy
from harness.data import assets
from harness.data.digests import sha256_file
from harness.data.images import DecodeRule
from harness.data.store import Store
from harness.engine.plan import Plan, make_plan
from harness.engine.progress import Progress
from harness.engine.runner import lanes_of, run
from harness.engine.work import Worker
from harness.engine.world import World, model_arithmetic, reproducible
from harness.interfaces import Code, Question, RunRequest
from harness.interfaces.protocols import ModelPrecision
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard
from harness.metrics.extractors import Inception
from harness.metrics.inception import INPUT_RULES, InceptionFeatures
from harness.metrics.lpips import Lpips, Net
from harness.metrics.networks import at_a_time
from harness.sets.compare import compare_files
from harness.sets.images import open_images
from harness.sets.observe import observe_set
from uniwetok.ar import BitDance, Guidance, sample
from uniwetok.ar.config import BitDanceConfig
from uniwetok.ar.solver import solver_of
from uniwetok.plugins.mllm import UniWeTokChat
from uniwetok.plugins.tokenizer import TokenizerPlugin, packed
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

SIDE = 256
_TRUNKS: dict[Net, str] = {"alex": "alexnet", "vgg": "vgg16"}


@dataclass(frozen=True)
class Sizes:
    """How large the networks are, and how much they work on."""

    tokenizer: UniWeTokConfig
    drawer: BitDanceConfig
    steps: int
    """Diffusion steps a token."""
    picture: tuple[int, int]
    """Width and height of the files."""
    images: int
    drawn: int
    questions: int
    batch: int
    precisions: tuple[ModelPrecision, ...]


FULL = Sizes(
    UniWeTokConfig(),
    SIZES["b"],
    *(20, (500, 375), 1024, 512, 512, 64),
    ("fp32", "tf32", "bf16"),
)
TINY = Sizes(
    UniWeTokConfig(channels=32, num_res_blocks=1, attention_blocks=2, heads=4),
    SIZES["tiny"],
    *(1, (64, 48), 2, 1, 2, 1),
    ("fp32",),
)


@MODELS.register("untrained")
class Untrained:
    """Tokenizer and class-to-image model with random weights."""

    card = ModelCard(name="untrained")
    classes = 55

    def __init__(self, sizes: Sizes = TINY) -> None:
        self._sizes = sizes

    def load(self, device: str) -> None:
        """Take both networks, which every run shares."""
        tokenizer, self._drawer = _networks(self._sizes, device)
        self._plugin = TokenizerPlugin(tokenizer)
        self._solver = solver_of(self._drawer.head.net, self._sizes.steps, compiled=False)
        self.image_device = torch.device(device)

    def encode(self, images: torch.Tensor) -> list[Code]:
        """As the real plug-in does."""
        return self._plugin.encode(images)

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> torch.Tensor:
        """As the real plug-in does."""
        return self._plugin.decode(codes, seeds)

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        """As the real plug-in does."""
        drawn = sample(
            self._drawer,
            torch.tensor(list(classes)),
            [torch.Generator().manual_seed(seed) for seed in seeds],
            guidance=Guidance(scale=4.0),
            steps=self._sizes.steps,
            solver=self._solver,
        )
        return packed(drawn, SIDE, SIDE)


@functools.cache
def _networks(sizes: Sizes, device: str) -> tuple[UniWeTok, BitDance]:
    """To draw the weights takes several seconds, of which a lent GPU has few."""
    tokenizer = UniWeTok(sizes.tokenizer).eval().to(device)
    return tokenizer, awake(BitDance(sizes.drawer)).eval().to(device)


def whole_runs(console: Console, device: str, sizes: Sizes) -> None:
    """Print images or questions a second of whole runs, and of the raw forward passes.

    A line as soon as it is measured: all of it takes minutes.
    """
    console.print("whole runs: samples a second, of the raw passes alone, the share")

    def row(title: str, count: int, seconds: float, raw: float) -> None:
        """`raw`: Seconds a sample."""
        speed = count / seconds
        figures = f"{speed:.4g} of {1 / raw:.4g}, {speed * raw:.0%}"
        console.print(f"{title}, {count} samples: {figures}")

    with tempfile.TemporaryDirectory() as scratch, _weights(Path(scratch)):
        folder = Path(scratch)
        pictures(folder / "data", 2 * sizes.images, sizes.picture)
        for precision in sizes.precisions:
            row(*_recon(folder, device, sizes, precision))
        row(*_gen(folder, device, sizes))
        row(*_pairs(folder, device, sizes))
        row(*_set(folder, device, sizes))
        if importlib.util.find_spec("lmms_eval") is not None:
            row(*vqa_run(folder, device, sizes))
    if importlib.util.find_spec("lmms_eval") is None:
        console.print('no VQA: lmms-eval is missing, pip install "uwt-eval[vqa]"')


Row = tuple[str, int, float, float]


@contextlib.contextmanager
def _weights(folder: Path) -> Iterator[None]:
    """Let random weights pass for the published ones of the metrics' networks."""
    states = {"inception": random_inception_state_dict(0)}
    states |= {name: random_trunk_state_dict(net, 0) for net, name in _TRUNKS.items()}
    known = {}
    for name, state in states.items():
        asset = assets.find(name)
        torch.save(state, folder / asset.filename)
        digest = sha256_file(folder / asset.filename)
        known[name] = dataclasses.replace(asset, sha256=digest)
    places = {"UWT_EVAL_ASSETS": str(folder), "UWT_EVAL_CACHE": str(folder / "cache")}
    with mock.patch.dict(assets.ASSETS, known), mock.patch.dict(os.environ, places):
        yield


def _raw(work: Callable[[], object], count: int, device: str) -> float:
    """Seconds a sample of a call on so many, the median of three after some to warm up."""
    times = []
    with torch.no_grad(), reproducible(device):
        for _ in range(7):  # The third is recorded.
            start = time.perf_counter()
            work()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return statistics.median(times[4:]) / count


def _lpips(net: Net, device: str, height: int, width: int) -> float:
    network = Lpips(net, random_trunk_state_dict(net, 0), device, micro_batch=at_a_time(device))
    images = torch.rand(at_a_time(device), 3, height, width, device=device)
    return _raw(lambda: network(images, -images), len(images), device)


def _inception(device: str, count: int) -> float:
    rule = INPUT_RULES["adm"]
    network = InceptionFeatures(
        random_inception_state_dict(0), *rule, device=device, micro_batch=count
    )
    images = torch.zeros(count, 3, SIDE, SIDE, dtype=torch.uint8, device=device)
    return _raw(lambda: network(images), count, device)


def _worked(request: RunRequest, model: Untrained, count: int) -> float:
    """Seconds that a run needs for so many more samples, which half as many come before.

    So long runs go; of a short one a part is spent on the first batches, which nothing is measured
    beside, and on the last ones, which nothing is drawn beside.
    """
    taken: list[float] = []
    plans: list[Plan] = []  # Held, and with them the networks that were built.
    for limit in (request.batch_size, -(-count // 2), count + -(-count // 2)):
        out = request.out / str(len(plans))
        plan = make_plan(dataclasses.replace(request, limit=limit, out=out), World())
        plans.append(plan := dataclasses.replace(plan, model=model))
        plan.root.mkdir(parents=True)
        with reproducible(plan.device) as cores:
            start = time.perf_counter()
            worker = Worker(plan, Store(plan.root), World(), lanes_of(plan, cores))
            worker.run(lambda _: None)
            taken.append(time.perf_counter() - start - worker.timings.seconds["model"])
    return taken[2] - taken[1]


def _recon(folder: Path, device: str, sizes: Sizes, precision: ModelPrecision) -> Row:
    model = Untrained(sizes)
    request = RunRequest(
        task="imagenet-recon",
        model="untrained",
        model_precision=precision,
        data=str(folder / "data"),
        metrics=("psnr", "ssim", "lpips_alex", "rfid"),
        small_sets=True,
        device=device,
        batch_size=sizes.batch,
        out=folder / f"recon-{precision}",
    )
    seconds = _worked(request, model, sizes.images)
    pixels = torch.rand(sizes.batch, 3, SIDE, SIDE, device=device) * 2 - 1
    seeds = list(range(sizes.batch))

    def reconstruct() -> object:
        with model_arithmetic(device, precision):
            return model.decode(model.encode(pixels), seeds)

    raw = _raw(reconstruct, sizes.batch, device) + _lpips("alex", device, SIDE, SIDE)
    raw += 2 * _inception(device, sizes.batch)
    title = f"imagenet-recon, {precision}, PSNR, SSIM, LPIPS alex, rFID"
    return title, sizes.images, seconds, raw


def _gen(folder: Path, device: str, sizes: Sizes) -> Row:
    model = Untrained(sizes)
    request = RunRequest(
        task="imagenet-gen",
        model="untrained",
        protocol="nano",
        device=device,
        batch_size=sizes.batch,
        out=folder / "gen",
    )
    seconds = _worked(request, model, sizes.drawn)
    seeds = list(range(sizes.batch))
    raw = _raw(
        lambda: model.decode(model.sample([seed % model.classes for seed in seeds], seeds), seeds),
        sizes.batch,
        device,
    )
    title = f"imagenet-gen, {sizes.steps} diffusion steps a token, Inception"
    return title, sizes.drawn, seconds, raw + _inception(device, sizes.batch)


def _pairs(folder: Path, device: str, sizes: Sizes) -> Row:
    data = str(folder / "data")
    seconds = 0.0
    for _ in range(2):  # The first reads digests and builds nothing that the second has.
        start = time.perf_counter()
        compare_files(
            data,
            data,
            ["psnr", "ssim", "lpips"],
            protocol="torch-fidelity",
            device=device,
            seed=0,
            small_sets=False,
            extrapolate=False,
            progress=Progress(Console(stderr=True), quiet=True),
        )
        seconds = time.perf_counter() - start
    raw = sum(_lpips(net, device, *reversed(sizes.picture)) for net in _TRUNKS)
    title = "metrics A B, PSNR, SSIM, LPIPS alex and vgg, {}x{}".format(*sizes.picture)
    return title, 2 * sizes.images, seconds, raw


def _set(folder: Path, device: str, sizes: Sizes) -> Row:
    images = open_images(
        str(folder / "data"), DecodeRule(exif="ignore", alpha="drop", sixteen_bit="clip")
    )
    extractor = Inception({"inception": {"input": "adm", "tap": "pool3"}}, device)
    extractor.shared.network()
    extractor.shared.forget()
    start = time.perf_counter()
    observe_set(images, [extractor], device)
    seconds = time.perf_counter() - start
    raw = _inception(device, sizes.batch)
    return "features of a set, Inception", 2 * sizes.images, seconds, raw


def vqa_run(folder: Path, device: str, sizes: Sizes) -> Row:
    """The difference of two runs, after one that warms up, as `_worked` has it.

    Neither the start of a process is in it nor the opening of the first pictures.
    """
    path = folder / "chat"
    small_assistant().save_pretrained(path)
    before = -(-sizes.questions // 2)
    write_copy(folder / "pope", before + sizes.questions)
    taken = []
    for number, limit in enumerate((sizes.batch, before, before + sizes.questions)):
        request = RunRequest(
            task="pope",
            model=f"uniwetok-chat:{path}",
            data=str(folder / "pope"),
            limit=limit,
            device=device,
            batch_size=sizes.batch,
            out=folder / f"vqa-{number}",
        )
        start = time.perf_counter()
        run(request, World(), Progress(Console(stderr=True), quiet=True))
        taken.append(time.perf_counter() - start)
    chat = UniWeTokChat(path)
    chat.load(device)
    asked = [Question(ASKED.format(n), [picture_of(n)]) for n in range(sizes.batch)]
    raw = _raw(lambda: chat.reply(asked, max_new_tokens=128), sizes.batch, device)
    return "pope, a model of 8.9M, 128 tokens", sizes.questions, taken[2] - taken[1], raw
