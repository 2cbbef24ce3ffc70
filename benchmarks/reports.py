"""CPU seconds of the report commands on 1,000 records, and of `compare` on 50,000 pairs."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.machine import headline
from benchmarks.startup import cpu_seconds
from harness.interfaces.types import MetricValue, Protocol, ResultRecord, RunStatus, digest_of

RECORDS = 1_000
PAIRS = 50_000
ROUNDS = 5
PROTOCOL = Protocol(name="wetok", title="", settings={"uint8": "round"})
METRICS = ("psnr", "ssim", "lpips_alex", "lpips_vgg")
SETS = ("rfid", "bpp", "usage_pooled")
COMMANDS = {
    "report all": "report all --runs {0}/runs --format html --out {0}/tables.html",
    "leaderboard": "leaderboard {0}/runs --out {0}/L.md --html {0}/L.html",
    "gate": "gate {0}/runs --baseline {0}/all.json --markdown {0}/gate.md --junit {0}/gate.xml",
    "compare": "compare {0}/a {0}/b --json",
}
GOALS = {"report all": 3.0, "leaderboard": 3.0, "gate": 3.0, "compare": 5.0}
CODE = """
import sys
from harness.cli import main
try: main()
except SystemExit as stop: assert not stop.code, stop.code
assert 'torch' not in sys.modules
"""


def main() -> None:
    """Print the median of several rounds, each in a fresh process that imports no torch."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_records(root)
        for name, shift in (("a", 0.0), ("b", 0.01)):
            _write_run(root / name, name, shift)
        seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(ROUNDS):
            for name, words in COMMANDS.items():
                command = [sys.executable, "-c", CODE, *words.format(root).split()]
                seconds[name].append(cpu_seconds(command))
    table = Table()
    for column in ("command", "CPU seconds", "goal"):
        table.add_column(column, justify="left" if column == "command" else "right")
    for name, values in seconds.items():
        table.add_row(name, f"{statistics.median(values):.2f}", f"{GOALS[name]:g}")
    Console(width=100).print(f"{RECORDS:,} records, {PAIRS:,} pairs: {headline()}", table)


def record_of(name: str, n: int, value: float) -> ResultRecord:
    """A made-up result over n samples."""
    cell = MetricValue(value=value, ci_low=value - 1, ci_high=value + 1, n=n, higher_is_better=True)
    return ResultRecord(
        run_id=name,
        task="imagenet-recon",
        task_version=1,
        model=f"model {name}",
        model_digest=digest_of(name),
        protocol=PROTOCOL.name,
        protocol_digest=PROTOCOL.digest,
        dataset="photos",
        dataset_digest=digest_of(n),
        seed=0,
        n=n,
        n_failed=0,
        status=RunStatus.COMPLETE,
        metrics=dict.fromkeys((*METRICS, *SETS), cell),
    )


def _write_records(root: Path) -> None:
    records = []
    for index in range(RECORDS):
        record = record_of(f"run-{index}", 4, 20 + index / 500).model_dump(mode="json")
        folder = root / "runs" / f"run-{index}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
        records.append(record)
    (root / "all.json").write_text(json.dumps(records), encoding="utf-8")


def _write_run(root: Path, name: str, shift: float) -> None:
    """A run directory as far as `compare` reads it."""
    root.mkdir()
    draws = np.random.default_rng(0)
    rows = {"id": [f"val/{index}" for index in range(PAIRS)], "status": ["ok"] * PAIRS}
    columns = {metric: draws.normal(20, 2, PAIRS) + shift for metric in METRICS}
    frame = pd.DataFrame(rows | {"error": [""] * PAIRS} | columns)
    frame.to_parquet(root / "samples.parquet", index=False)
    run = {"protocol": PROTOCOL.model_dump(mode="json")}
    (root / "run.json").write_text(json.dumps(run), encoding="utf-8")
    record = record_of(name, PAIRS, 20 + shift).model_dump(mode="json")
    (root / "record.json").write_text(json.dumps(record), encoding="utf-8")
