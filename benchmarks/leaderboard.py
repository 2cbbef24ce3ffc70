"""CPU seconds, memory and size of the page of a leaderboard of 10,000 records."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import headline
from benchmarks.reports import record_of

RECORDS = 10_000
GOALS = {"CPU seconds": 10.0, "MB of memory": 200.0, "MB of HTML": 6.0}
CODE = "import sys; from harness.cli import main; main()"


def main() -> None:
    """Rank 10,000 records in a fresh process, and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for index in range(RECORDS):
            record = record_of(f"run-{index}", 4, 20 + index / 500).model_dump(mode="json")
            record["provenance"] = _provenance(index)
            place = root / "runs" / f"run-{index}"
            place.mkdir(parents=True)
            (place / "record.json").write_text(json.dumps(record), encoding="utf-8")
        words = ["leaderboard", root / "runs", "--out", root / "L.md", "--html", root / "L.html"]
        before = _cpu()
        subprocess.run([sys.executable, "-c", CODE, *map(str, words)], check=True, env=os.environ)
        taken = (
            _cpu() - before,
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
            (root / "L.html").stat().st_size / 1e6,
        )
    table = Table()
    for column in ("", "measured", "goal"):
        table.add_column(column, justify="left" if not column else "right")
    for (name, goal), value in zip(GOALS.items(), taken, strict=True):
        table.add_row(name, f"{value:.1f}", f"{goal:g}")
    Console(width=100).print(f"Leaderboard of {RECORDS:,} records: {headline()}", table)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _provenance(index: int) -> dict[str, object]:
    """As a run leaves it, shortened."""
    return {
        "command": ["uwt-eval", "run", "imagenet-recon", "--model", f"model-{index}"],
        "code": {"commit": "0123456789abcdef" * 2, "dirty": False},
        "packages": {"uwt-eval": "0.1.0", "torch": "2.7.0", "numpy": "2.2.0", "pillow": "11.2.1"},
        "python": "3.12.4",
        "device": "cuda",
        "started": f"2026-01-02T{index // 3600 % 24:02d}:{index // 60 % 60:02d}:{index % 60:02d}",
        "images_per_second": 100 + index / 7,
    }
