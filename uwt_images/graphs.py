"""CUDA graphs: what a function of tensors does on a GPU, started at once when shapes come again.

A network is some thousand kernels. To start one takes the processor ten microseconds and Python's
lock, for which it waits its turn among threads that read and measure; a graph takes that once.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

Function = Callable[..., Any]
"""Of tensors on one device, or None in a tensor's place; gives a tensor or a tuple of them.

It waits for nothing, draws nothing, and does the same whatever the values. What else it reads, such
as weights, stays where it is."""

_WARM_UP = 2
"""Runs before the recording, in which libraries are loaded and kernels compiled."""
_OFTEN = 3
"""Calls of a shape after which it is recorded, which takes as long as some more."""
_MOST = 8
"""Graphs of one owner: where every image has its own size, none comes often enough."""
_SHARE = 3
"""One part in so many of a GPU's memory that all graphs may take: what they have, they keep."""
_OWNERS: WeakSet[Graphs] = WeakSet()
_LOCK = threading.Lock()
"""Held while owners are added or gone through."""


class Graph:
    """What a function does on a GPU with inputs of these shapes.

    Args:
        function: see `Function`; it is not held.
        inputs: of the function.
        stream: what it is recorded on. Graphs that run side by side need one each, for libraries
            keep scratch memory by stream.
        pool: memory that graphs share which never run side by side.
    """

    def __init__(
        self,
        function: Function,
        *inputs: Tensor | None,
        stream: torch.cuda.Stream | None = None,
        pool: Any = None,
    ) -> None:
        with torch.inference_mode(False):  # To be written to anywhere.
            self._inputs = [None if each is None else each.clone() for each in inputs]
        with torch.cuda.device(_device(inputs)):
            current = torch.cuda.current_stream()
            beside = stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(current)
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UP):
                    function(*self._inputs)
            current.wait_stream(beside)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads may allocate meanwhile: lanes stack and copy images of other blocks.
            with torch.cuda.graph(self._graph, pool, beside, capture_error_mode="thread_local"):
                self._outputs = function(*self._inputs)

    def replay(self, *inputs: Tensor | None) -> Any:
        """Do on the current stream what the function does, with other values."""
        for held, given in zip(self._inputs, inputs, strict=True):
            if held is not None and given is not None:
                held.copy_(given)
        self._graph.replay()
        if isinstance(self._outputs, Tensor):
            return self._outputs.clone()
        return tuple(each.clone() for each in self._outputs)


class Graphs:
    """An owner's functions, recorded by shape and arithmetic as these come again on a GPU.

    The kernels, and so the bits, are those of the functions. Where a shape is rare or memory is
    scarce, and elsewhere than on a GPU, they are simply called. For one thread at a time; see also
    `release`.

    Args:
        guard: held while a function is called or recorded, to set its arithmetic. What is recorded
            needs it no more.
    """

    recording = True
    """Of all of them; no more once memory has ended."""

    def __init__(self, guard: Callable[[], AbstractContextManager[Any]] | None = None) -> None:
        self._guard = guard
        self._graphs: dict[Hashable, Graph] = {}
        self._calls: Counter[Hashable] = Counter()
        self._place: dict[str, Any] = {}
        self.bytes = 0
        """Of memory that is kept."""
        with _LOCK:
            _OWNERS.add(self)

    def run(self, name: str, function: Function, *inputs: Tensor | None) -> Any:
        """Do what a function does, without gradients.

        Args:
            name: of the function among its owner's.
            function: see `Function`; it is not held.
            inputs: of the function.
        """
        device = _device(inputs)
        if device.type != "cuda":
            return self._call(function, inputs)
        key = (name, *map(_layout, inputs), None if self._guard else _arithmetic())
        if key in self._graphs:
            return self._graphs[key].replay(*inputs)
        self._calls[key] += 1
        if self._calls[key] != _OFTEN or len(self._graphs) == _MOST or not Graphs.recording:
            return self._call(function, inputs)
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = self._call(function, inputs)
        if _has_room(torch.cuda.max_memory_allocated(device) - held, device):
            before = _reserved(device)
            try:
                self._graphs[key] = self._recorded(function, inputs)
            except RuntimeError as error:
                warnings.warn(f"{name} is started kernel by kernel: {error}", stacklevel=2)
            self.bytes += _reserved(device) - before
        return result

    def forget(self) -> None:
        """Give back what was recorded."""
        self._graphs.clear()
        self._place.clear()
        self.bytes = 0

    def _call(self, function: Function, inputs: tuple[Tensor | None, ...]) -> Any:
        with torch.no_grad(), self._guard() if self._guard else nullcontext():
            return function(*inputs)

    def _recorded(self, function: Function, inputs: tuple[Tensor | None, ...]) -> Graph:
        if not self._place:
            with torch.cuda.device(_device(inputs)):
                self._place["stream"] = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                self._place["pool"] = torch.cuda.graph_pool_handle()
        with torch.autocast(
            "cuda",
            torch.get_autocast_dtype("cuda"),
            torch.is_autocast_enabled("cuda"),
            cache_enabled=False,  # It keeps copies of weights while entered, a graph for longer.
        ):
            graph: Graph = self._call(functools.partial(Graph, function, **self._place), inputs)
        return graph


def _device(inputs: tuple[Tensor | None, ...]) -> torch.device:
    return next(each.device for each in inputs if each is not None)


def _layout(values: Tensor | None) -> Hashable:
    return None if values is None else (values.shape, values.stride(), values.dtype, values.device)


def _arithmetic() -> Hashable:
    """What a GPU computes in, as far as a caller decides it."""
    return (
        torch.is_autocast_enabled("cuda"),
        torch.get_autocast_dtype("cuda"),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )


def _has_room(needed: int, device: torch.device) -> bool:
    """Whether a graph may have so many bytes: as many are left, and all graphs keep to a share."""
    free, total = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    spent = sum(owner.bytes for owner in _owners())
    return 2 * needed <= free + unused and _SHARE * (spent + needed) <= total


def _reserved(device: torch.device) -> int:
    """Bytes that torch has of the GPU once it has given back those that it only keeps for later."""
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(device)


def release() -> None:
    """Give back the memory of all graphs, for good; called when memory ends, and nobody runs any.

    Where there are none they were not what took it, and may come later.
    """
    owners = _owners()
    if any(owner._graphs for owner in owners):
        Graphs.recording = False
        torch.cuda.synchronize()
        for owner in owners:
            owner.forget()
        torch.cuda.empty_cache()


def _owners() -> list[Graphs]:
    with _LOCK:
        return list(_OWNERS)
