"""What `nox -s gpu` prints of whole runs, on a processor at a tiny size."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import gpu_runs


def printed(console: Console) -> list[str]:
    return [line for line in console.export_text().splitlines() if "%" in line]


@pytest.mark.slow
def test_whole_runs_stand_beside_their_forward_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "lmms_eval" else find(name)
    )
    console = Console(record=True, width=160)
    gpu_runs.whole_runs(console, "cpu", gpu_runs.TINY)
    rows = printed(console)
    for row, title in zip(rows, ("recon", "gen", "metrics A B", "a set"), strict=True):
        assert title in row


@pytest.mark.slow
def test_questions_are_asked_too(tmp_path: Path) -> None:
    pytest.importorskip("lmms_eval")
    _, count, _, raw = gpu_runs.vqa_run(tmp_path, "cpu", gpu_runs.TINY)
    assert count == gpu_runs.TINY.questions
    assert raw > 0
