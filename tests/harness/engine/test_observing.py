"""What comes before and after observing: a look at what an observer needs, and outputs kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from harness.engine import runner
from harness.engine.progress import Progress
from harness.engine.runner import run
from harness.engine.work import Worker
from harness.engine.world import World
from harness.interfaces import Columns, ImagePairs
from harness.interfaces.errors import UserError
from harness.interfaces.registry import EXTRACTORS, METRICS
from harness.metrics.scores import SampleMean
from tests.harness.toys import Control, request


class Observer:
    """Observes where it is let, and says what it was asked for."""

    identity: Mapping[str, Any] = {"version": 1}
    ready = True
    calls = 0
    fails_at = -1

    def preflight(self) -> None:
        if not Observer.ready:
            raise UserError("the observer is not there")

    def observe(self, pairs: ImagePairs) -> Columns:
        Observer.calls += 1
        if Observer.calls == Observer.fails_at:
            raise UserError("the observer has gone")
        return {"observed": pairs.reference_uint8.mean((1, 2, 3), dtype=np.float64)}


@pytest.fixture
def observer(monkeypatch: pytest.MonkeyPatch) -> type[Observer]:
    made = {**EXTRACTORS._registered, "observer": lambda settings, device: Observer()}
    metric = SampleMean("observed", "observer", higher_is_better=True)
    monkeypatch.setattr(EXTRACTORS, "_registered", made)
    monkeypatch.setattr(METRICS, "_registered", {**METRICS._registered, "observed": metric})
    Observer.ready, Observer.calls, Observer.fails_at = True, 0, -1
    return Observer


def carry_out(tiles: Path) -> Any:
    finished = run(request(tiles, metrics=("observed",)), World(), Progress(Console(quiet=True)))
    assert finished is not None
    return finished.record


def test_what_an_observer_needs_is_looked_at_before_the_model_works(
    tiles: Path, control: Control, observer: type[Observer]
) -> None:
    observer.ready = False
    with pytest.raises(UserError, match="the observer is not there"):
        carry_out(tiles)
    assert control.loaded == control.encoded == 0
    observer.ready = True
    first = carry_out(tiles)
    observer.ready = False  # What is finished needs no observer.
    assert carry_out(tiles).metrics == first.metrics


def test_outputs_are_kept_before_they_are_observed(
    tiles: Path, control: Control, observer: type[Observer], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With another lane, its block may be encoded and not yet kept when the observer goes.
    monkeypatch.setattr(runner, "Worker", lambda plan, store, world, _: Worker(plan, store, world))
    observer.fails_at = 3
    with pytest.raises(UserError, match="the observer has gone"):
        carry_out(tiles)
    encoded = control.encoded
    assert encoded
    carry_out(tiles)
    assert control.encoded == len(list(tiles.glob("*.png")))  # No tile was encoded twice.


def test_what_was_observed_of_earlier_outputs_is_forgotten(
    tiles: Path, control: Control, observer: type[Observer]
) -> None:
    record = carry_out(tiles)
    root = tiles.parent / "runs" / record.run_id
    before = {path.name for path in (root / "observations" / "observer").iterdir()}
    for path in (root / "outputs").iterdir():
        path.unlink()
    observer.fails_at = observer.calls + 1
    with pytest.raises(UserError, match="the observer has gone"):
        carry_out(tiles)
    kept = {path.name for path in (root / "observations" / "observer").iterdir()}
    outputs = {path.name.partition("-")[0] for path in (root / "outputs").iterdir()}
    assert outputs
    assert kept < before
    assert carry_out(tiles).metrics == record.metrics
