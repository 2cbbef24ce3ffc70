"""CUDA graphs: what a function of tensors does on a GPU, started at once when shapes come again.

A network is some thousand kernels. To start one takes the processor ten microseconds and Python's
lock, for which it waits its turn among threads that read and measure; a graph takes that once.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal
from weakref import WeakSet

import torch
from torch import Tensor, nn

Function = Callable[..., Any]
"""Of tensors on one device, or None in a tensor's place; gives a tensor or a tuple of them.

It waits for nothing, draws nothing, and does the same whatever the values. What else it reads stays
where it is; of a module's weights that is seen to."""

Inputs = Sequence[Tensor | None]

RECORDING = threading.RLock()
"""Held while a graph is recorded, and by a model that is called meanwhile: what draws from the
GPU's own generator, waits for all of it or records another graph would break the recording. Taken
after any turn and before any switch of arithmetic."""

_WARM_UP = 2
"""Runs before the recording, in which libraries are loaded and kernels compiled."""
_OFTEN = 3
"""Calls of a shape after which it is recorded, which takes as long as some more."""
_MOST = 8
"""Graphs of one owner: where every image has its own size, none comes often enough."""
_SHARE = 3
"""One part in so many of a GPU's memory that all graphs may take: what they have, they keep."""


class Graph:
    """What a function does on a GPU with inputs of these shapes.

    Args:
        function: see `Function`; it is not held.
        inputs: of the function.
        beside: whether it runs beside a model. What does and what does not have scratch memory of
            their own, which libraries keep by stream.
        pool: memory that graphs share which never run side by side.
    """

    def __init__(
        self,
        function: Function,
        *inputs: Tensor | None,
        beside: bool = False,
        pool: Any = None,
    ) -> None:
        device = _device(inputs)
        # Tensors of inference mode could not be written to outside of it, the generator's state
        # among them, which older versions of torch make as they record for the first time.
        with RECORDING, torch.cuda.device(device), torch.inference_mode(False), torch.no_grad():
            self._inputs = [None if each is None else each.clone() for each in inputs]
            current = torch.cuda.current_stream()
            stream = _stream(device, "network" if beside else "model")
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    function(*self._inputs)
            current.wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            try:
                # Other threads may allocate meanwhile: lanes copy images of other blocks.
                with torch.cuda.graph(self._graph, pool, stream, capture_error_mode="thread_local"):
                    self._outputs = function(*self._inputs)
            finally:
                # Some versions stay on the other stream where recording fails.
                torch.cuda.set_stream(current)

    @torch.no_grad()
    def replay(self, *inputs: Tensor | None) -> Any:
        """Do on the current stream what the function does, with other values; no gradients."""
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
    scarce, and elsewhere than on a GPU, they are simply called. A copy has recorded nothing.

    Args:
        guard: held while a function is called or recorded, to set its arithmetic. What is recorded
            needs it no more, and may run beside a model.
    """

    recording = True
    """Of all of them; no more once memory has ended, or a recording failed."""

    def __init__(self, guard: Callable[[], AbstractContextManager[Any]] | None = None) -> None:
        self._guard = guard
        self._graphs: dict[Hashable, Graph] = {}
        self._calls: Counter[Hashable] = Counter()
        self._pools: dict[torch.device, Any] = {}
        self._last: torch.cuda.Event | None = None
        self._lock = threading.Lock()
        self.bytes = 0
        """Of memory that is kept."""
        with _LOCK:
            _OWNERS.add(self)

    def __reduce__(self) -> Any:
        return Graphs, (self._guard,)

    def run(self, name: str, function: Function, *inputs: Tensor | None) -> Any:
        """Do what a function does, without gradients.

        Args:
            name: of the function among its owner's.
            function: see `Function`; it is not held.
            inputs: of the function.
        """
        device = _device(inputs)
        if device.type != "cuda" or torch.cuda.is_current_stream_capturing():
            return self._call(function, inputs)
        arithmetic = None if self._guard else _arithmetic()
        key = (name, arithmetic, *map(_layout, inputs), *_places(function))
        with self._lock:
            if key in self._graphs:
                return self._replay(self._graphs[key], device, inputs)
            self._calls[key] += 1
            often = self._calls[key] == _OFTEN and len(self._graphs) < _MOST
        if not (often and Graphs.recording and arithmetic != () and all(map(_dense, inputs))):
            return self._call(function, inputs)
        with RECORDING:
            held = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            result = self._call(function, inputs)
            if _has_room(torch.cuda.max_memory_allocated(device) - held, device):
                self._keep(key, function, inputs)
        return result

    def forget(self) -> None:
        """Give back what was recorded."""
        with self._lock:
            for device in self._pools:
                torch.cuda.synchronize(device)
            self._graphs.clear()
            self._pools.clear()
            self.bytes = 0

    def _call(self, function: Function, inputs: Inputs) -> Any:
        with torch.no_grad(), self._guard() if self._guard else nullcontext():
            return function(*inputs)

    def _replay(self, graph: Graph, device: torch.device, inputs: Inputs) -> Any:
        stream = torch.cuda.current_stream(device)
        if self._last is not None:  # Whoever ran one before may have been on another stream.
            stream.wait_event(self._last)
        result = graph.replay(*inputs)
        self._last = stream.record_event()
        return result

    def _keep(self, key: Hashable, function: Function, inputs: Inputs) -> None:
        device = _device(inputs)
        try:
            before = _reserved(device)
            graph = self._recorded(function, inputs)
            with self._lock:
                self._graphs[key] = graph
                self.bytes += _reserved(device) - before
        except RuntimeError as error:
            Graphs.recording = False
            warnings.warn(f"networks are started kernel by kernel: {error}", stacklevel=3)

    def _recorded(self, function: Function, inputs: Inputs) -> Graph:
        device = _device(inputs)
        if device not in self._pools:
            self._pools[device] = torch.cuda.graph_pool_handle()
        record = functools.partial(
            Graph, function, beside=self._guard is not None, pool=self._pools[device]
        )
        with torch.autocast(
            "cuda",
            torch.get_autocast_dtype("cuda"),
            torch.is_autocast_enabled("cuda"),
            cache_enabled=False,  # It keeps copies of weights while entered, a graph for longer.
        ):
            graph: Graph = self._call(record, inputs)
        return graph


_OWNERS: WeakSet[Graphs] = WeakSet()
_LOCK = threading.Lock()
"""Held while owners are added or gone through."""


def release() -> None:
    """Give back the memory of all graphs, for good; called when memory ends, and nobody runs any.

    Where there are none they were not what took it, and may come later.
    """
    owners = [owner for owner in _owners() if owner._graphs]
    if owners:
        Graphs.recording = False
        for owner in owners:
            owner.forget()
        torch.cuda.empty_cache()


def _owners() -> list[Graphs]:
    with _LOCK:
        return list(_OWNERS)


@functools.cache
def _stream(device: torch.device, _: Literal["model", "network"]) -> torch.cuda.Stream:
    """One of each, for torch has 32 in all and gives them out again."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _device(inputs: Inputs) -> torch.device:
    return next(each.device for each in inputs if each is not None)


def _layout(values: Tensor | None) -> Hashable:
    return None if values is None else (values.shape, values.stride(), values.dtype, values.device)


def _dense(values: Tensor | None) -> bool:
    """Whether a copy lies in memory as the tensor does: sums may go by that."""
    return values is None or torch.empty_like(values).stride() == values.stride()


def _places(function: Function) -> list[int]:
    """Which module it is and where its weights lie; they may be moved, and others loaded."""
    if not isinstance(function, nn.Module):
        return []
    weights = [*function.parameters(), *function.buffers()]
    return [id(function), *(weight.data_ptr() for weight in weights)]


def _arithmetic() -> tuple[Hashable, ...]:
    """What a GPU computes in, as far as a caller decides it; empty where that cannot be told."""
    try:
        switches = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    except RuntimeError:  # They were set by torch's newer switches.
        return ()
    return torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"), *switches


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
