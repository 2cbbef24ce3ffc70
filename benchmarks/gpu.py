"""The paper's sizes on a CUDA device: raw forward passes, a run beside them, sampling.

The networks have random weights, whose time is that of trained ones; pictures are noise on smooth
fields, as JPEG files.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.ar.options import SIZES
from benchmarks.ar.sides import labels_of, random_model
from benchmarks.gpu_runs import FULL, whole_runs
from benchmarks.machine import headline
from benchmarks.random_weights import random_inception_state_dict, random_trunk_state_dict
from harness.engine.world import model_arithmetic
from harness.metrics.inception import INPUT_RULES, InceptionFeatures
from harness.metrics.lpips import Lpips
from uniwetok.ar import BitDance, Guidance, sample
from uniwetok.ar.solver import AnySolver, Solver, solver_of
from uniwetok.plugins.tokenizer import TokenizerPlugin
from uniwetok.tokenizer import UniWeTok

if TYPE_CHECKING:
    from harness.interfaces.protocols import ModelPrecision

BATCH = 32
PRECISIONS: tuple[ModelPrecision, ...] = ("fp32", "tf32", "bf16")
TOKEN_STEPS = 20
"""Diffusion steps a token, a fifth of the default: time is linear in them."""


def main() -> None:
    """Print two tables and the lines between them, each as soon as it is measured."""
    if not torch.cuda.is_available():
        sys.exit("no CUDA device")
    console = Console(width=100)
    console.print(
        f"python -m benchmarks gpu: {headline()}, "
        f"{torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"
    )
    _forward_passes(console)
    whole_runs(console, "cuda", FULL)
    _sampling(console)


def _milliseconds(work: Callable[[], object], rounds: int = 7, warm: int = 3) -> float:
    """Median time of a call on the device, after some to warm up."""
    for _ in range(warm):
        work()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def _forward_passes(console: Console) -> None:
    """Print milliseconds an image of 256x256."""
    table = Table("network", "precision", "ms an image", "images/s", "peak GiB")
    pixels = torch.rand(BATCH, 3, 256, 256, device="cuda") * 2 - 1
    bytes_ = ((pixels + 1) * 127.5).to(torch.uint8)

    def row(name: str, precision: ModelPrecision, work: Callable[[], object]) -> None:
        torch.cuda.reset_peak_memory_stats()
        with torch.no_grad(), model_arithmetic("cuda", precision):
            each = _milliseconds(work) / BATCH
        peak = torch.cuda.max_memory_allocated() / 2**30
        table.add_row(name, precision, f"{each:.3f}", f"{1000 / each:.0f}", f"{peak:.1f}")

    tokenizer = UniWeTok().eval().cuda()

    def reconstruct() -> object:
        codes = tokenizer.encode(pixels)
        noise = [torch.Generator().manual_seed(number) for number in range(BATCH)]
        return tokenizer.decode(codes, generator=noise)

    for precision in PRECISIONS:
        row("tokenizer, encode and decode", precision, reconstruct)
    half = UniWeTok().eval().cuda().bfloat16()
    plugin = TokenizerPlugin(half)
    host = pixels.cpu()
    row(
        "tokenizer plug-in, bfloat16 weights, from and to the host",
        "fp32",
        lambda: plugin.decode(plugin.encode(host), list(range(BATCH))),
    )
    rule = INPUT_RULES["adm"]
    inception = InceptionFeatures(
        random_inception_state_dict(0), *rule, outputs=("pool3",), device="cuda"
    )
    row("Inception pool3", "fp32", lambda: inception(bytes_))
    for net in ("alex", "vgg"):
        lpips = Lpips(net, random_trunk_state_dict(net, 0), "cuda")
        row(f"LPIPS {net}, a pair", "fp32", lambda lpips=lpips: lpips(pixels, -pixels))
    console.print(table)


def _sampling(console: Console) -> None:
    """Print images/s of class-to-image sampling: eager, as graphs, compiled and as graphs."""
    table = Table("UniWeTok-B, guided", "dtype", "batch", "s a batch", "images/s", "ratio")
    for dtype in (torch.float32, torch.bfloat16):
        model = random_model("b").to("cuda", dtype)
        net = model.head.net
        solvers: dict[str, AnySolver] = {
            "eager": Solver(net, TOKEN_STEPS),
            "CUDA graphs": solver_of(net, TOKEN_STEPS),
            "compiled, CUDA graphs": solver_of(net, TOKEN_STEPS, compiled=True),
        }
        for batch in (16, 64):
            eager = 0.0
            for name, solver in solvers.items():
                work = partial(_draw, model, batch, solver)
                seconds = _milliseconds(work, rounds=1, warm=1) / 1000
                eager = eager or seconds
                table.add_row(
                    name,
                    str(dtype).removeprefix("torch."),
                    str(batch),
                    f"{seconds:.2f}",
                    f"{batch / seconds:.1f}",
                    f"{eager / seconds:.2f}",
                )
    console.print(table, f"{TOKEN_STEPS} diffusion steps a token; the time is linear in them")


def _draw(model: BitDance, batch: int, solver: AnySolver) -> torch.Tensor:
    noise = [torch.Generator().manual_seed(seed) for seed in range(batch)]
    return sample(
        model,
        labels_of(batch, SIZES["b"]),
        noise,
        guidance=Guidance(scale=4.0),
        steps=TOKEN_STEPS,
        solver=solver,
    )
