"""Listing a folder of 100,000 small files: its images, their digests and the data set's own.

Cold, with an empty cache of digests, and warm; each in a fresh process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

FILES = 100_000
A_FOLDER = 100
_BYTES = 800


def make_files(root: Path) -> None:
    """Write files of different contents with names of images, as many to a folder as a class."""
    for index in range(FILES):
        folder = root / f"n{index // A_FOLDER:08d}"
        if index % A_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"{index:08d}.png").write_bytes(index.to_bytes(8, "big") * (_BYTES // 8))


def measure(folder: str) -> None:
    """List a folder; print seconds, CPU seconds and the process's peak memory in MB as JSON."""
    from harness.data.manifest import dataset_digest, list_samples
    from harness.data.sources import open_source

    wall, cpu = time.perf_counter(), time.process_time()
    samples = list_samples(open_source(folder, "images", "validation"), None)
    dataset_digest(samples)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    figures = [time.perf_counter() - wall, time.process_time() - cpu, peak]
    print(json.dumps([len(samples), *figures]))


def main() -> None:
    """Print a row cold and a row warm."""
    table = Table(f"{FILES:,} files", "seconds", "CPU seconds", "peak, MB")
    with tempfile.TemporaryDirectory() as place:
        make_files(Path(place) / "data")
        time.sleep(3)  # Digests of files that were just written are not kept.
        environment = os.environ | {"UWT_EVAL_CACHE": f"{place}/cache"}
        for state in ("cold", "warm"):
            command = [sys.executable, "-m", "benchmarks.listing", f"{place}/data"]
            run = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            )
            count, wall, cpu, peak = json.loads(run.stdout)
            assert count == FILES
            table.add_row(state, f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}")
    Console().print(table)


if __name__ == "__main__":
    measure(sys.argv[1])
