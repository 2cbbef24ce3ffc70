"""Functions that a GPU records are, elsewhere, simply called; `tests/gpu` has the rest."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from tests.uniwetok.ar.toys import fill_by_formula, tiny
from uniwetok.ar import BitDance
from uniwetok.ar.solver import CapturedSolver, Solver
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig
from uwt_images import graphs
from uwt_images.graphs import RECORDING, Graph, Graphs, release

TINY = UniWeTokConfig(channels=32, num_res_blocks=1, attention_blocks=1, heads=4)


def test_on_a_processor_a_function_is_called_every_time() -> None:
    seen: list[Tensor | None] = []
    weight = torch.ones(2, requires_grad=True)

    def double(values: Tensor, other: Tensor | None) -> Tensor:
        seen.extend((values, other))
        return values * 2 * weight

    graphs = Graphs()
    for number in range(5):
        values = torch.full((2,), float(number))
        result = graphs.run("double", double, values, None)
        assert torch.equal(result, 2 * values)
        assert not result.requires_grad
        assert seen[-2] is values
        assert seen[-1] is None


def test_the_guard_is_held_while_a_function_is_called() -> None:
    held: list[str] = []

    @contextmanager
    def guard() -> Iterator[None]:
        held.append("begin")
        yield
        held.append("end")

    def function(values: Tensor) -> Tensor:
        held.append("call")
        return values

    for _ in range(2):
        Graphs(guard).run("it", function, torch.zeros(1))
    assert held == ["begin", "call", "end"] * 2


class Recording:
    """A graph that says when it is replayed."""

    def __init__(self, function: Callable[..., Any], log: list[str]) -> None:
        self._function = function
        self._log = log

    def replay(self, *inputs: Tensor) -> Any:
        self._log.append("replay")
        return self._function(*inputs)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done on a GPU of 90 bytes, 60 of them free; a call takes 10, and so does a graph."""
    log: list[str] = []
    reserved = iter(range(0, 1000, 10))
    memory: dict[str, Any] = {
        "memory_allocated": lambda _: 20,
        "max_memory_allocated": lambda _: 30,
        "memory_reserved": lambda _: 30,
        "mem_get_info": lambda _: (60, 90),
        "reset_peak_memory_stats": lambda _: None,
        "synchronize": lambda _: log.append("wait"),
        "empty_cache": lambda: None,
        "current_stream": lambda _: mock.Mock(),
        "is_current_stream_capturing": lambda: False,
    }
    for name, value in memory.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(graphs, "_device", lambda _: torch.device("cuda:0"))
    monkeypatch.setattr(graphs, "_reserved", lambda _: next(reserved))
    monkeypatch.setattr(Graphs, "recording", True)

    def recorded(owner: Graphs, function: Any, _: Any) -> Recording:
        owner._pools[torch.device("cuda:0")] = None
        return Recording(function, log)

    monkeypatch.setattr(Graphs, "_recorded", recorded)
    return log


def said(log: list[str], name: str) -> Callable[..., Tensor]:
    def function(values: Tensor) -> Tensor:
        log.append(name)
        return values

    return function


def test_a_shape_is_recorded_when_it_comes_again_and_again(gpu: list[str]) -> None:
    owner = Graphs()
    for size in (1, 2):
        for _ in range(5):
            owner.run("it", said(gpu, "call"), torch.zeros(size))
        assert gpu == ["call"] * 3 + ["replay", "call"] * 2
        gpu.clear()


@pytest.mark.parametrize(
    ("free", "needed", "recorded"),
    [(60, 30, True), (10, 10, True), (9, 10, False), (60, 31, False)],
)
def test_graphs_leave_as_much_as_they_take_and_two_thirds_of_all(
    free: int, needed: int, recorded: bool, gpu: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 20 + needed)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 90))
    owner = Graphs()
    for _ in range(4):
        owner.run("it", said(gpu, "call"), torch.zeros(1))
    assert ("replay" in gpu) is recorded


def test_graphs_of_all_owners_share_their_part(gpu: list[str]) -> None:
    owners = [Graphs() for _ in range(5)]
    for owner in owners:
        for _ in range(4):
            owner.run("it", said(gpu, "call"), torch.zeros(1))
    assert [owner.bytes for owner in owners] == [10, 10, 10, 0, 0]


def test_what_cannot_be_recorded_is_called(gpu: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Graphs, "_recorded", fails)
    owner = Graphs()

    def run() -> None:
        owner.run("it", said(gpu, "call"), torch.zeros(1))

    run()
    run()
    with pytest.warns(UserWarning, match="are started kernel by kernel: operation not permitted"):
        run()
    run()
    assert gpu == ["call"] * 4
    assert not Graphs.recording


def test_released_graphs_do_not_come_back(gpu: list[str]) -> None:
    owner, other = Graphs(), Graphs()
    release()  # Nothing was recorded: it is not graphs that ended memory.
    for _ in range(4):
        owner.run("it", said(gpu, "call"), torch.zeros(1))
    assert gpu == ["call"] * 3 + ["replay", "call"]
    gpu.clear()
    release()
    release()
    assert gpu == ["wait"]
    for each in (owner, other):
        for _ in range(4):
            each.run("it", said(gpu, "call"), torch.zeros(1))
    assert gpu == ["wait"] + ["call"] * 8


def test_a_module_whose_weights_were_replaced_is_recorded_anew(gpu: list[str]) -> None:
    module, owner = torch.nn.Linear(1, 1), Graphs()

    def run(times: int) -> None:
        for _ in range(times):
            owner.run("it", module, torch.zeros(1, 1))

    run(4)
    assert gpu == ["replay"]
    module.load_state_dict({"weight": torch.ones(1, 1), "bias": torch.ones(1)}, assign=True)
    run(3)
    assert gpu == ["replay"]
    run(1)
    assert gpu == ["replay"] * 2


def test_a_recording_waits_for_a_model_that_is_called(gpu: list[str]) -> None:
    owner, ended = Graphs(), threading.Event()
    for _ in range(2):
        owner.run("it", said(gpu, "call"), torch.zeros(1))

    def third() -> None:
        owner.run("it", said(gpu, "call"), torch.zeros(1))
        ended.set()

    with RECORDING:
        other = threading.Thread(target=third)
        other.start()
        assert not ended.wait(0.2)
    other.join(60)
    assert ended.is_set()
    assert gpu == ["call"] * 3


def test_a_copy_has_recorded_nothing(gpu: list[str]) -> None:
    network = UniWeTok(TINY).eval().record()
    owner = network._graphs
    assert owner is not None
    for _ in range(4):
        owner.run("it", said(gpu, "call"), torch.zeros(1))
    assert owner._graphs
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert copied._graphs is not owner
        assert not copied._graphs._graphs


@torch.no_grad()
def test_a_solver_shares_the_memory_of_graphs_and_gives_it_back(gpu: list[str]) -> None:
    eager = Solver(fill_by_formula(BitDance(tiny())).head.net, 3)
    captured = CapturedSolver(eager)
    draws = torch.Generator().manual_seed(0)

    def solve(*weights: float) -> None:
        condition = torch.randn(4, 1, 32, generator=draws)
        noise = torch.randn(4, 2, 1, 16, generator=draws)
        got, want = (each.solve(condition, noise, weights) for each in (captured, eager))
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6)

    for weight in (2.0, 3.0, 4.0, 5.0):
        solve(weight, weight, weight, weight)
    assert gpu == ["replay"]
    solve(1.0, 2.0, 2.0, 2.0)  # The null branch is left out at the first time.
    assert gpu == ["replay"]
    assert captured._graphs.bytes == 10
    release()
    solve(2.0, 2.0, 2.0, 2.0)
    assert gpu == ["replay", "wait"]


def test_replays_keep_no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of images that a loss is asked for, the whole computation would be held."""
    graph = Graph.__new__(Graph)
    graph._inputs, graph._graph = [torch.zeros(2)], mock.Mock()
    graph._outputs = graph._inputs[0]
    for _ in range(2):
        graph.replay(torch.ones(2, requires_grad=True) * 2)
        assert graph._inputs[0] is not None
        assert graph._inputs[0].grad_fn is None
