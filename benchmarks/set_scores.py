"""Seconds that a finished run of 50,000 images takes to score: Table 8's metrics, files and all.

Features are random, of full rank and as wide as Inception's; the files are as a run on a GPU leaves
them. Each metric is timed alone, in the order of the table.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import headline
from benchmarks.run_files import run_file
from harness.data.manifest import blocks
from harness.data.store import Store
from harness.engine.items import observation_table, output_table
from harness.engine.plan import resolve
from harness.engine.run_file import RunFile, read_run_file
from harness.engine.score import Merged, cell_of
from harness.interfaces import Code, RunRequest
from harness.interfaces.types import Sample

IMAGES = 50_000
WIDTH = 2048
METRICS = ("psnr", "ssim", "lpips_alex", "lpips_vgg", "rfid", "bpp", "usage_pooled", "usage_joint")
_EXTRACTORS = ("pixels", "lpips_alex", "lpips_vgg", "inception")


def write_run(root: Path, count: int) -> None:
    """Write the files of a run of so many images."""
    _, _, card, protocol, _ = resolve(RunRequest(task="imagenet-recon", model="uniwetok-nano"))
    names = (f"{index:06}.png" for index in range(count))
    file = run_file(names, protocol, card, _EXTRACTORS, METRICS)
    store, draw = Store(root), np.random.default_rng(0)
    root.mkdir(parents=True)
    store.write_record("run.json", file)
    mix = draw.standard_normal((WIDTH, WIDTH)).astype(np.float32) / np.float32(np.sqrt(WIDTH))
    for index, block in enumerate(blocks(file.samples, file.block_size)):
        _write_block(store, file, index, block, draw, mix)


def _write_block(
    store: Store,
    file: RunFile,
    index: int,
    block: Sequence[Sample],
    draw: np.random.Generator,
    mix: np.ndarray,
) -> None:
    n = len(block)
    ids, ok, errors = [sample.id for sample in block], ["ok"] * n, [""] * n
    codes = [Code(draw.bytes(1024), 256, 256) for _ in block]
    outputs = output_table(ids, ok, errors, codes, [0.01] * n)
    store.write_part("outputs", index, file.output_key(block), outputs)
    originals, noise = (
        np.abs(draw.standard_normal((n, WIDTH), dtype=np.float32) @ mix) for _ in range(2)
    )
    seen = {
        "pixels": {"psnr": 20 + draw.random(n), "ssim": draw.random(n)},
        "lpips_alex": {"lpips_alex": draw.random(n)},
        "lpips_vgg": {"lpips_vgg": draw.random(n)},
        "inception": {
            "reference_pool3": originals,
            "reconstruction_pool3": originals + np.float32(0.1) * noise,
        },
    }
    for name, columns in seen.items():
        table = observation_table(ids, ok, errors, columns, range(n))
        store.write_part(f"observations/{name}", index, file.observation_key(block, name), table)


def main() -> None:
    """Print seconds and CPU seconds of each step."""
    table = Table(f"{IMAGES:,} images", "seconds", "CPU seconds")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "run"
        write_run(root, IMAGES)
        clocks = [(time.perf_counter(), time.process_time())]

        def lap(step: str) -> None:
            clocks.append((time.perf_counter(), time.process_time()))
            wall, cpu = (after - before for before, after in zip(*clocks[-2:], strict=True))
            table.add_row(step, f"{wall:.1f}", f"{cpu:.1f}")

        file = read_run_file(root)
        observed = Merged(file, Store(root)).observations()
        lap("reading the files")
        for key in METRICS:
            assert cell_of(key, observed, file.protocol.settings, {}).value is not None
            lap(key)
    wall, cpu = (after - before for before, after in zip(clocks[0], clocks[-1], strict=True))
    table.add_row("all of it", f"{wall:.1f}", f"{cpu:.1f}")
    Console(width=100).print(headline(), table)
