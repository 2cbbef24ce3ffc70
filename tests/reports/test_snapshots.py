"""What `compare`, `gate` and the tables print for people and for machines, kept as snapshots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from syrupy.assertion import SnapshotAssertion

from tests.conftest import CommandLine
from tests.reports.runs import cell, write_run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs with a metric a sample, a figure of the set, and a text a sample."""
    found = []
    for model, psnr, rfid in (("a", [20.0, 21, 22, 23], 3.0), ("b", [20.5, 20, 25, 23.1], 2.5)):
        root = write_run(tmp_path, model, columns={"psnr": psnr}, sets={"rfid": cell(rfid, 0.2)})
        rows = pd.read_parquet(root / "samples.parquet")
        rows["reply"] = [f"{model} says {index}" for index in range(4)]
        rows.to_parquet(root / "samples.parquet", index=False)
        found.append(root)
    return found[0], found[1]


def stable(value: Any) -> Any:
    """The same on every machine: no folders, no last digits."""
    if isinstance(value, dict):
        return {key: stable(each) for key, each in value.items() if key != "path"}
    if isinstance(value, list):
        return [stable(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


@pytest.mark.parametrize("command", ["compare", "gate"])
def test_json(
    uwt_eval: CommandLine, runs: tuple[Path, Path], command: str, snapshot: SnapshotAssertion
) -> None:
    old, new = runs
    words = [old, new] if command == "compare" else [new, "--baseline", old]
    result = uwt_eval(command, *words, "--json")
    assert json.dumps(stable(json.loads(result.out)), indent=1) == snapshot


@pytest.mark.parametrize("command", ["compare", "gate", "table8"])
def test_terminal(
    uwt_eval: CommandLine, runs: tuple[Path, Path], command: str, snapshot: SnapshotAssertion
) -> None:
    old, new = runs
    words = {
        "compare": ["compare", old, new, "--samples", 1],
        "gate": ["gate", new, "--baseline", old],
        "table8": ["report", "table8", "--runs", old, "--runs", new],
    }[command]
    out = uwt_eval(*words).out
    assert "\n".join(line.rstrip() for line in out.splitlines()) == snapshot
