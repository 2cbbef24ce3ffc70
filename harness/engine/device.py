"""Who has the device, and on which of its streams: the model on one, metric networks beside it."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from harness.engine.items import Stopped
from harness.interfaces.observing import Turns, out_of_memory


class ModelInTurn:
    """A model whose every call waits for its turn, and computes in the run's arithmetic.

    What a task does to inputs and outputs around the calls is done by many lanes at a time.

    Args:
        model: The model.
        turns: Of whoever computes in this run.
        arithmetic: What the model computes in.
        device: Where it computes.
        stopping: Set once nothing more shall begin.
    """

    def __init__(
        self,
        model: Any,
        turns: Turns,
        arithmetic: Callable[[], AbstractContextManager[Any]],
        device: str,
        stopping: threading.Event,
    ) -> None:
        self._model = model
        self._turn = turns.of_model(model)
        self._alone = turns.networks
        self._arithmetic = arithmetic
        self._device = device
        self._cuda = cuda_of(device)
        self._stopping = stopping
        self._lane = threading.local()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """What the model is, for those who ask what it offers."""
        return type(self._model)

    @property
    def seconds(self) -> float:
        """How long this thread's calls have worked, their waiting apart."""
        return getattr(self._lane, "seconds", 0.0)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        return functools.partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., Any], *given: Any, **named: Any) -> Any:
        work = functools.partial(self._work, method, given, named)
        with self._turn:
            try:
                return work()
            except Exception as error:
                if self._alone is None or not out_of_memory(error):
                    raise
            # Out of the handler, for what was raised holds on to the tensors of its frames.
            with self._alone:
                return work()

    def _work(self, method: Callable[..., Any], given: Any, named: Any) -> Any:
        if self._stopping.is_set():
            raise Stopped
        start = time.perf_counter()
        try:
            with self._arithmetic():
                result = method(*given, **named)
            if self._cuda is not None:
                # Whose turn is next finds the device's work done, and its time is the next one's.
                self._cuda.current_stream(self._device).synchronize()
            elif self._device == "mps":
                import torch

                torch.mps.synchronize()
        finally:
            self._lane.seconds = self.seconds + time.perf_counter() - start
        return result


def cuda_of(device: str) -> Any:
    """Torch's streams and events where the device is a GPU that is here; None elsewhere."""
    if not device.startswith("cuda"):  # A stored result is told without torch.
        return None
    import torch

    return torch.cuda if torch.cuda.is_available() else None


class Beside:
    """The stream of metric networks: on a GPU they compute while the model does, elsewhere in turn.

    Memory that one stream's work has allocated is free for its later work as soon as it is let go
    of, whatever another stream still reads. So what networks are given is held until they have
    ended, for which `after` waits.

    Args:
        device: Where they compute.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._cuda = cuda_of(device)
        self._stream = None if self._cuda is None else _stream(self._cuda, device)

    def mark(self) -> Any:
        """How far this thread's own stream has been filled: what `after` waits for."""
        return self._cuda and self._cuda.current_stream(self._device).record_event()

    @contextmanager
    def after(self, mark: Any) -> Iterator[None]:
        """Queue work on the stream behind a mark; at the end, also by an error, wait for it."""
        if self._stream is None:
            yield
            return
        with self._cuda.stream(self._stream):
            self._stream.wait_event(mark)
            try:
                yield
            finally:
                self._stream.record_event().synchronize()


@functools.cache
def _stream(cuda: Any, device: str) -> Any:
    """One for a device: torch keeps memory that was freed for the stream that had it."""
    return cuda.Stream(device)
