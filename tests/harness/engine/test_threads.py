"""Plug-ins are called by one thread at a time, unless they say that more may come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.data.store import Store
from harness.engine.plan import make_plan
from harness.engine.work import Worker
from harness.engine.world import World
from harness.interfaces.observing import Turns
from harness.metrics.extractors import Pixels
from tests.harness.toys import Control, ToyTokenizer, request

LANES = 4
WAIT = 20


class Company:
    """Counts the threads that are inside at a time; each waits a moment for another to come."""

    def __init__(self, wanted: int) -> None:
        self.most = 0
        self._inside = 0
        self._lock = threading.Lock()
        self._met = threading.Event()
        self._wanted = wanted

    def __call__(self, *_: Any) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
            if self.most >= self._wanted:
                self._met.set()
        self._met.wait(WAIT if self._wanted == 2 else 0.01)
        with self._lock:
            self._inside -= 1


def work(tiles: Path, **changes: Any) -> None:
    plan = make_plan(request(tiles, **changes), World())
    plan.root.mkdir(parents=True)
    Worker(plan, Store(plan.root), World(), LANES).run(lambda _: None)


def visited(
    place: str, company: Company, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let every call of the model, or of the extractor, pass through the company."""
    if place == "model":
        control.before_encode = control.before_decode = company
        return
    observe: Callable[..., Any] = Pixels.observe
    monkeypatch.setattr(Pixels, "observe", lambda *given: (company(), observe(*given))[1])


@pytest.mark.parametrize("place", ["model", "extractor"])
@pytest.mark.parametrize("concurrent", [False, True])
def test_threads_in_a_plugin_at_a_time(
    place: str, concurrent: bool, tiles: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = Company(wanted=2 if concurrent else LANES + 1)
    visited(place, company, control, monkeypatch)
    owner = ToyTokenizer if place == "model" else Pixels
    monkeypatch.setattr(owner, "concurrent", concurrent, raising=False)
    work(tiles, metrics=("psnr",))
    assert company.most == 1 if not concurrent else company.most >= 2


@pytest.mark.parametrize("where", ["device", "cpu"])
def test_a_gpu_has_one_owner(
    where: str, tiles: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer that could take several calls gets one on a GPU; a codec goes on beside it."""
    monkeypatch.setattr(ToyTokenizer, "concurrent", True, raising=False)
    monkeypatch.setattr(ToyTokenizer, "works_on", where, raising=False)
    company = Company(wanted=2 if where == "cpu" else LANES + 1)
    visited("model", company, control, monkeypatch)
    plan = replace(make_plan(request(tiles, metrics=("psnr",)), World()), device="cuda")
    plan = replace(plan, file=plan.file.model_copy(update={"block_size": 1}))
    plan.root.mkdir(parents=True)
    Worker(plan, Store(plan.root), World(), LANES).run(lambda _: None)
    assert company.most == 1 if where == "device" else company.most >= 2


def test_what_is_on_the_device_waits_for_one_turn() -> None:
    turns = Turns("cuda")
    settings = {"ssim": {"window": "uniform7"}, "pixels": {"dtype": "float64"}}
    network, pixels, model = object(), Pixels(settings, "cuda"), object()
    assert turns.of(network) is turns.of_model(model)
    assert turns.of(pixels) is not turns.of_model(model)
    assert turns.of(pixels, network) is turns.of_model(model)


def test_what_one_lane_fails_at_stops_the_others_that_wait(tiles: Path, control: Control) -> None:
    def fail(_: Any) -> None:
        raise KeyboardInterrupt

    control.before_encode = fail
    with pytest.raises(KeyboardInterrupt):
        work(tiles, metrics=("psnr",))
    assert control.encoded == 1
