"""Looking at a finished run of 1.28 million samples: reading its file, and finding nothing missing.

The run is a codec's with two extractors, in blocks as a GPU's run has them; every part is small.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

SAMPLES = 1_281_167
"""ImageNet's training images."""
EXTRACTORS = ("pixels", "inception")


@dataclass
class _Looked:
    """As much of a plan as is looked at."""

    file: Any
    keeps_images: bool = False
    data: object = None
    model: object = None
    device: str = "cuda"
    batch_size: int = 64
    model_precision: str = "fp32"
    extractors: dict[str, Any] = field(default_factory=dict)


def make_run(root: Path) -> None:
    """Write `run.json` and every part of every block; the parts of a kind are links to one."""
    import pyarrow as pa

    from benchmarks.run_files import run_file
    from harness.data.digests import write_table
    from harness.data.manifest import blocks
    from harness.data.store import Store
    from harness.interfaces.types import ModelCard, Protocol

    file = run_file(
        (f"train/n{index // 1300:08d}/n{index:08d}.JPEG" for index in range(SAMPLES)),
        Protocol(name="wetok", title="", settings={"uint8": "round"}),
        ModelCard(name="webp"),
        EXTRACTORS,
        ("psnr",),
    )
    store = Store(root)
    store.write_record("run.json", file)
    for index, block in enumerate(blocks(file.samples, file.block_size)):
        for stage, key in file.part_keys(block).items():
            kind = root / f"{stage.replace('/', '-')}-{len(block)}.parquet"
            if not kind.is_file():
                payloads = [bytes(1000) if stage == "outputs" else b""] * len(block)
                columns = {"id": [s.id for s in block], "status": ["ok"] * len(block)}
                write_table(pa.table({**columns, "payload": payloads}), kind)
            target = root / f"{stage}/{index:06d}-{key[:16]}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(kind, target)


def measure(folder: str) -> None:
    """Print seconds of reading and of looking, and the peak of memory in MB, as JSON."""
    from harness.data.store import Store
    from harness.engine.plan import Plan
    from harness.engine.run_file import read_run_file
    from harness.engine.work import Worker
    from harness.engine.world import World

    root = Path(folder)
    start, start_cpu = time.perf_counter(), time.process_time()
    file = read_run_file(root)
    read, read_cpu = time.perf_counter(), time.process_time()
    missing = Worker(cast("Plan", _Looked(file)), Store(root), World()).missing()
    end, end_cpu = time.perf_counter(), time.process_time()
    assert not missing
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    seconds = [read - start, read_cpu - start_cpu, end - read, end_cpu - read_cpu]
    print(json.dumps([len(file.samples), *seconds, peak]))


def main() -> None:
    """Print how long it took."""
    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        make_run(Path(place))
        made = time.perf_counter() - start
        command = [sys.executable, "-m", "benchmarks.resume", place]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
    count, read, read_cpu, looked, looked_cpu, peak = json.loads(run.stdout)
    table = Table(f"{count:,} samples", "seconds", "CPU seconds")
    table.add_row("(making the run)", f"{made:.1f}", "")
    table.add_row("reading run.json", f"{read:.1f}", f"{read_cpu:.1f}")
    table.add_row("Worker.missing()", f"{looked:.1f}", f"{looked_cpu:.1f}")
    table.add_row("peak, MB", f"{peak:.0f}", "")
    Console().print(table)


if __name__ == "__main__":
    measure(sys.argv[1])
