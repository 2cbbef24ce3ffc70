"""An Apple GPU is a device by name alone; what it cannot do is done on the processor."""

from __future__ import annotations

import threading
import types
from functools import partial
from typing import Any

import pytest
import torch

from harness.data.images import with_float64
from harness.doctor import machine
from harness.engine import provenance
from harness.engine.items import ModelInTurn
from harness.engine.world import World, likely_device, model_arithmetic, resolve_device
from harness.interfaces.errors import UserError
from harness.interfaces.observing import Turns, out_of_memory
from harness.metrics import feature_cache, lpips, resize


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine whose torch says that it has an Apple GPU; keeps what was asked of it."""
    calls: list[str] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.mps.get_name", lambda: "Apple M2", raising=False)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(f"torch.mps.{name}", lambda name=name: calls.append(name))
    return calls


@pytest.mark.usefixtures("apple")
def test_it_is_taken_by_name_and_never_by_itself() -> None:
    assert resolve_device("mps", World()) == likely_device("mps", World()) == "mps"
    assert resolve_device("auto", World()) == "cpu"
    with pytest.raises(UserError, match="--device mps:0: use auto, cpu, cuda, cuda:N or mps"):
        likely_device("mps:0", World())


def test_where_there_is_none_it_is_refused() -> None:
    with pytest.raises(UserError, match="--device mps: torch sees no Apple GPU here; use"):
        resolve_device("mps", World())


@pytest.mark.usefixtures("apple")
def test_records_and_doctor_name_it() -> None:
    facts = provenance.machine("mps")
    assert (facts["device"], facts["gpu"]) == ("mps", "Apple M2")
    assert "cuda" not in facts
    (finding,) = machine._devices()
    assert (finding.name, finding.level) == ("mps", "ok")
    assert "Apple M2" in finding.text
    assert feature_cache._machine("mps")["processor"] == "Apple M2"


def test_one_thread_at_a_time_has_it(apple: list[str]) -> None:
    turns = Turns("mps")
    beside = types.SimpleNamespace(beside_model=True)
    model: Any = types.SimpleNamespace(encode=lambda images: images)
    assert turns.of(beside) is turns.of_model(model)
    arithmetic = partial(model_arithmetic, "mps", "fp32")
    in_turn: Any = ModelInTurn(model, turns, arithmetic, "mps", threading.Event())
    assert in_turn.encode(3) == 3
    assert apple == ["synchronize"], "its time is not the next one's"


def test_the_end_of_its_memory_is_known() -> None:
    assert out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"))
    assert not out_of_memory(RuntimeError("a shape is wrong"))


class Elsewhere(torch.Tensor):
    """A tensor that says it is on an Apple GPU, and refuses float64 as one does."""

    @property
    def device(self) -> torch.device:
        return torch.device("mps")

    def cpu(self, *_: Any, **__: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(found, Elsewhere) and found.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return found


def test_float64_is_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(2, 3, 40, 40)
    there = images.as_subclass(Elsewhere)
    with pytest.raises(TypeError, match="float64"):
        there.double()
    assert torch.equal(with_float64(there).double(), images.double())
    assert with_float64(images) is images
    assert torch.equal(feature_cache._levels(there), feature_cache._levels(images))
    kept = lpips._Kept(10**9)
    assert kept.of(there, lambda each: [each + 1]) is kept.of(there, lambda each: [each + 2])
    # Back there goes what comes out, which a tensor that only says so cannot.
    monkeypatch.setattr(Elsewhere, "device", torch.device("cpu"))
    monkeypatch.setattr(resize, "with_float64", lambda values: values.cpu())
    assert torch.equal(resize.pil_bicubic(there, 29), resize.pil_bicubic(images, 29))
