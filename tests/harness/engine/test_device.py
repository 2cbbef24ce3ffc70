"""The model's calls take turns, and metric networks go beside them without a race."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.store import Store
from harness.engine import items
from harness.engine.items import Beside, ModelInTurn
from harness.engine.plan import make_plan
from harness.engine.work import Worker
from harness.engine.world import World, model_arithmetic, reproducible
from harness.interfaces.models import offers
from harness.interfaces.observing import ARITHMETIC, Turns
from harness.metrics.extractors import Pixels
from harness.metrics.networks import exact_float32
from tests.harness.toys import Control, ToyTokenizer, request
from uwt_images import graphs

LANES = 3


class FakeCuda:
    """Streams and events that only write down who did what, a line a call."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self.lane = threading.local()

    def note(self, what: str) -> None:
        self.log.append((what, threading.get_ident()))

    def current_stream(self, device: str) -> FakeStream:
        del device
        return getattr(self.lane, "stream", FakeStream(self, "model"))

    def Stream(self, device: str) -> FakeStream:  # noqa: N802
        del device
        return FakeStream(self, "networks")

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.lane.stream = self.current_stream(""), stream
        try:
            yield
        finally:
            self.lane.stream = before


class FakeStream:
    """One of them; the events that it records are itself."""

    def __init__(self, cuda: FakeCuda, name: str) -> None:
        self.cuda = cuda
        self.name = name

    def record_event(self) -> FakeStream:
        self.cuda.note(f"record {self.name}")
        return self

    def wait_event(self, event: FakeStream) -> None:
        self.cuda.note(f"{self.name} wait for {event.name}")

    def synchronize(self) -> None:
        self.cuda.note(f"host waits for {self.name}")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(items, "cuda_of", lambda name: fake if name == "cuda" else None)
    return fake


def worked(tiles: Path, lanes: int, **changes: Any) -> Worker:
    plan = make_plan(request(tiles, metrics=("psnr",)), World())
    plan = dataclasses.replace(plan, **changes)
    plan.root.mkdir(parents=True)
    worker = Worker(plan, Store(plan.root), World(), lanes)
    worker.run(lambda _: None)
    return worker


def test_images_are_held_until_the_networks_have_seen_them(
    tiles: Path, control: Control, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lane in this order: the model ends, its mark is waited for, networks end."""
    del control
    observe: Any = Pixels.observe
    monkeypatch.setattr(
        Pixels,
        "observe",
        lambda *given: (cuda.note(f"see on {cuda.current_stream('').name}"), observe(*given))[1],
    )
    worked(tiles, LANES, device="cuda")
    group = "networks wait for model;see on networks;record networks;host waits for networks;"
    block = f"(host waits for model;)+record model;({group})+"
    for lane in {lane for _, lane in cuda.log}:
        own = "".join(f"{what};" for what, by in cuda.log if by == lane)
        assert re.fullmatch(f"({block})+", own)


def test_the_streams_end_is_waited_for_by_an_error_too(cuda: FakeCuda) -> None:
    beside = Beside("cuda")
    with pytest.raises(ArithmeticError), beside.after(beside.mark()):
        raise ArithmeticError
    assert cuda.log[-1][0] == "host waits for networks"
    assert cuda.current_stream("").name == "model"


def test_there_is_no_stream_on_a_processor() -> None:
    beside = Beside("cpu")
    mark = beside.mark()
    assert mark is None
    with beside.after(mark):
        pass


class Network:
    """An extractor that meets the model on the device, or waits for its turn there."""

    concurrent = True
    identity = {"version": 1}  # noqa: RUF012

    def __init__(self, visit: Any) -> None:
        self._visit = visit

    def observe(self, pairs: Any) -> Any:
        self._visit()
        return {"psnr": np.zeros(len(pairs.reference_uint8))}


@pytest.mark.parametrize("beside", [True, False])
def test_networks_that_guard_their_arithmetic_compute_beside_the_model(
    beside: bool, tiles: Path, control: Control
) -> None:
    """The model's call of one lane waits for a network's of another, which comes only if it may."""
    inside, met = threading.Event(), threading.Event()
    seen: list[bool] = []

    def encode(_: Any) -> None:
        if control.encoded > 1:  # The first block's outputs are there to be seen.
            met.clear()
            inside.set()
            # Once they have met it is seen; the last lane would wait for nobody.
            seen.append(met.wait(20 if beside and not any(seen) else 0.2))
            inside.clear()

    def visit() -> None:
        if inside.wait(1 if beside else 0):
            met.set()

    control.before_encode = encode
    network: Any = Network(visit)
    network.beside_model = beside
    plan = make_plan(request(tiles, metrics=("psnr",)), World())
    file = plan.file.model_copy(update={"block_size": 1})
    plan = dataclasses.replace(plan, device="cuda", file=file, extractors={"pixels": network})
    plan.root.mkdir(parents=True)
    Worker(plan, Store(plan.root), World(), LANES).run(lambda _: None)
    assert any(seen) is beside


@pytest.mark.parametrize(("precision", "free"), [("fp32", True), ("tf32", False), ("bf16", False)])
def test_strict_networks_begin_while_no_other_arithmetic_is_on(precision: Any, free: bool) -> None:
    begun = threading.Event()

    def network() -> None:
        with exact_float32("cuda"):
            assert not torch.backends.cudnn.allow_tf32
            begun.set()

    other = threading.Thread(target=network)
    with model_arithmetic("cuda", precision):
        other.start()
        assert begun.wait(60 if free else 0.2) is free
    other.join(60)
    assert begun.is_set()


def test_strict_networks_are_so_whatever_a_caller_has_switched_on() -> None:
    switches = torch.backends.cuda.matmul
    before, switches.allow_tf32 = switches.allow_tf32, True
    try:
        with exact_float32("cuda"):
            assert not switches.allow_tf32
        assert switches.allow_tf32
    finally:
        switches.allow_tf32 = before


def test_networks_on_a_processor_wait_for_nobody() -> None:
    with ARITHMETIC:
        other = threading.Thread(target=lambda: exact_float32("cpu").__enter__())
        other.start()
        other.join(60)
        assert not other.is_alive()


class Short:
    """Runs out of memory as long as somebody else has some."""

    identity = {"version": 1}  # noqa: RUF012
    beside_model = False

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.tries = 0

    def __call__(self, *_: Any) -> dict[str, Any]:
        self.tries += 1
        if not held_here(self.lock):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {}

    observe = encode = __call__


def held_here(lock: Any) -> bool:
    """Whether another thread would have to wait for a lock."""
    free: list[bool] = []

    def look() -> None:
        free.append(lock.acquire(blocking=False))
        if free[0]:
            lock.release()

    other = threading.Thread(target=look)
    other.start()
    other.join()
    return not free[0]


def test_what_runs_out_of_memory_beside_another_is_tried_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody replays a graph while the memory of all of them is given back."""
    turns = Turns("cuda")
    model = Short(turns.networks)
    alone: list[bool] = []
    monkeypatch.setattr(
        graphs,
        "release",
        lambda: alone.append(held_here(turns.networks) and held_here(turns.of_model(model))),
    )
    held: Any = ModelInTurn(model, turns, nullcontext, "paced", threading.Event())
    held.encode()
    network: Any = Short(turns.of_model(model))
    network.beside_model = True
    turns.taking(network).observe(None)
    assert (model.tries, network.tries) == (2, 2)
    assert alone == [True, True]


@pytest.mark.parametrize(("works_on", "together"), [("cpu", True), ("device", False)])
def test_models_that_are_not_on_the_gpu_hold_nothing_of_it(
    works_on: str, together: bool, cuda: FakeCuda
) -> None:
    """A codec's calls meet; those of a network are one at a time, and end before a recording."""
    del cuda
    meeting = threading.Barrier(2)
    met: list[bool] = []

    class Codec:
        concurrent = True

        def encode(self) -> None:
            try:
                meeting.wait(60 if together else 0.2)
                met.append(True)
            except threading.BrokenBarrierError:
                met.append(False)
            assert held_here(graphs.RECORDING) is not together

    codec: Any = Codec()
    codec.works_on = works_on
    held: Any = ModelInTurn(codec, Turns("cuda"), nullcontext, "cuda", threading.Event())
    threads = [threading.Thread(target=held.encode) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == [together] * 2


def test_a_model_in_turn_is_what_it_was(control: Control) -> None:
    model = ToyTokenizer(control)
    held: Any = ModelInTurn(model, Turns("cpu"), nullcontext, "cpu", threading.Event())
    assert offers(held, "VisualTokenizer")
    assert not offers(held, "TextToImage")
    assert isinstance(held, ToyTokenizer)
    assert held.card == model.card
    assert held.seconds == 0


def test_a_training_has_its_own_arithmetic_again_after_an_evaluation() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul

    def now() -> tuple[bool, ...]:
        return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32

    at_first = now()
    try:
        own = (False, True, True, True)
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = own
        with reproducible("cuda:0"):
            assert now() == (True, False, False, False)
        assert now() == own
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = at_first
