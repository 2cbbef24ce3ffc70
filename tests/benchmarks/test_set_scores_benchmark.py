"""The run that the benchmark writes is whole, and is scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import set_scores
from harness.engine.runner import rescore


def test_a_run_is_written_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_scores, "WIDTH", 16)
    set_scores.write_run(tmp_path / "run", 130)
    record, _ = rescore(tmp_path / "run")
    cells = {key: record.metrics[key] for key in set_scores.METRICS}
    assert record.n_failed == 0
    assert {key for key, cell in cells.items() if cell.value is None} == {"rfid"}
    assert "130 images are fewer" in cells["rfid"].status
