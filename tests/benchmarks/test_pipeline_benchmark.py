"""The paced device: it waits as long as it says, and the engine goes through every stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import pipeline
from harness.engine.world import World


@pytest.mark.parametrize("pace", pipeline.PACES, ids=lambda pace: pace.title)
def test_every_stage_is_taken(
    pace: pipeline.Pace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(pipeline, "wait", lambda count, each: waited.append(count * each))
    pipeline.pictures(tmp_path / "data", 6)
    plan = pipeline.plan_of(pace, tmp_path / "data", tmp_path / "runs", 6)
    pipeline.seconds_of(plan, World(), lanes=2)
    assert sum(waited) == pytest.approx(6 * pace.total)
    assert len(list((plan.root / "outputs").iterdir())) == 1
    assert {path.name for path in (plan.root / "observations").iterdir()} == set(plan.extractors)
