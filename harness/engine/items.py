"""Samples on their way through the stages of a run: batches for a model, rows for the store.

And who has the device meanwhile, on which of its streams: the model on one, metric networks beside.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from harness.interfaces import Code, Columns
from harness.interfaces.errors import SampleFailure, UserError, counted, warn
from harness.interfaces.observing import (
    Turns,
    on_device,
    out_of_memory,
    recording,
    release_graphs,
)
from harness.interfaces.registry import others_code
from harness.interfaces.types import IMAGE_SIDE, ModelCard, Sample, Status

RESERVED = ("id", "status", "error")
"""Columns of every stored table; an extractor's own have other names."""


@dataclass
class Item:
    """One sample on its way through a block."""

    sample: Sample
    seed: int
    status: Status = Status.OK
    error: str = ""
    input: Any = None
    code: Code | None = None
    rendered: Any = None
    seconds: float = 0.0

    def fail(self, error: Exception) -> None:
        """Record the first failure; later stages leave the sample out."""
        if isinstance(error, SampleFailure):
            self.status, self.error = error.status, first_written(str(error))
        else:
            self.status = Status.MODEL_ERROR
            self.error = first_written(f"{type(error).__name__}: {error}")

    @property
    def ok(self) -> bool:
        """Whether no stage has failed so far."""
        return self.status is Status.OK


def codes_of(made: Any, count: int) -> list[Code]:
    """A model's codes of so many samples, one each.

    Raises:
        ValueError: It made something else, or another number of them.
    """
    codes = list(made) if isinstance(made, Iterable) else [made]
    strange = next((type(code).__name__ for code in codes if not isinstance(code, Code)), "")
    if strange or len(codes) != count:
        raise ValueError(
            f"the model gave {strange or counted(len(codes), 'code')} for "
            f"{counted(count, 'sample')}: give a list of Codes, one a sample"
        )
    return codes


def check_rates(codes: Iterable[Code], card: ModelCard) -> None:
    """Refuse codes of 256x256 images whose rate is not the card's: tables print both.

    Raises:
        ValueError: The card states tokens and what one takes, and a code takes something else.
    """
    stated = card.stated.get("bits")
    if stated is None:
        return
    for code in codes:
        whole = (code.height, code.width) == (IMAGE_SIDE, IMAGE_SIDE)
        if whole and not (math.isnan(code.bits) or math.isclose(code.bits, stated, rel_tol=1e-9)):
            raise ValueError(
                f"its card states {card.tokens} tokens and {stated:g} bits for 256x256 pixels, its "
                f"codes take {code.bits:g}: give Code.of_symbols, or Code its bits, or mend the "
                "card"
            )


Step = Callable[[list[Item]], None]


class Stopped(Exception):
    """Another lane failed, or the user interrupted; this block's work is dropped."""


class Batches:
    """Cuts groups of items into batches and lets a model work on each.

    Args:
        size: Items a batch.
        turn: Held while a batch is worked on, the data's.
        stopping: Set once nothing more shall begin.
        clock: How long this thread's calls of the model have worked, in seconds.
        most: Up to how many items the size is doubled while they fit; it never grows where None.
    """

    def __init__(
        self,
        size: int,
        turn: AbstractContextManager[Any],
        stopping: threading.Event,
        clock: Callable[[], float] = time.perf_counter,
        most: int | None = None,
    ) -> None:
        self.size = size
        """Items a batch; less than was asked for once memory has ended."""
        self.too_many: int | None = None
        """The least number of items that memory has ended at."""
        self._most = most
        self._turn = turn
        self._stopping = stopping
        self._clock = clock
        self._lock = threading.Lock()

    def run(self, groups: Iterable[list[Item]], step: Step) -> None:
        """Let the model work on groups of items that may share a batch.

        Raises:
            UserError: Memory ends at a single item.
            Stopped: Nothing more shall begin.
        """
        for group in groups:
            start = 0
            while start < len(group):
                batch = group[start : start + self.size]
                with self._turn:
                    self._try(batch, step)
                start += len(batch)

    def _try(self, batch: list[Item], step: Step) -> None:
        """Run a step on a batch; where it raises, one by one, so that one item fails."""
        if self._stopping.is_set():
            raise Stopped
        start = self._clock()
        size = 1
        try:
            step(batch)
        except (UserError, Stopped):
            raise
        except Exception as error:
            if out_of_memory(error):
                if len(batch) == 1:
                    raise UserError(
                        f"out of GPU memory at a single sample, {batch[0].sample.id!r}: free the "
                        "GPU, or give the model a smaller dtype"
                    ) from error
                size = self._halve(len(batch))
            elif len(batch) == 1:
                batch[0].fail(error)
        else:
            size = len(batch)
            self._grow(size)
        if size < len(batch):
            # Out of the handler, for what was raised holds on to the tensors of its frames.
            for at in range(0, len(batch), size):
                self._try(batch[at : at + size], step)
            return
        seconds = (self._clock() - start) / len(batch)
        for item in batch:
            item.seconds += seconds

    def _grow(self, fitted: int) -> None:
        """Double the size after a whole batch of it, unless memory has ended before."""
        with self._lock:
            if self._most is not None and self.too_many is None and fitted == self.size:
                self.size = min(2 * fitted, self._most)

    def _halve(self, tried: int) -> int:
        """Half of a size that was too much, which no later batch exceeds."""
        import torch

        half = -(-tried // 2)
        with self._lock:
            self.too_many = min(tried, self.too_many or tried)
            if half < self.size:
                self.size = half
                if self._most is None:
                    warn(f"out of GPU memory at {tried} samples a batch: going on with {half}")
        if torch.cuda.is_available():
            with recording():
                torch.cuda.empty_cache()
        elif torch.backends.mps.is_available():
            torch.mps.empty_cache()
        return half


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
        there = self._cuda is not None and on_device(model)
        self._recording = recording() if there else nullcontext()
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
                release_graphs()
                return work()

    def _work(self, method: Callable[..., Any], given: Any, named: Any) -> Any:
        if self._stopping.is_set():
            raise Stopped
        start = time.perf_counter()
        try:
            with self._recording, self._arithmetic(), others_code():
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


def output_rows(items: Sequence[Item]) -> pa.Table:
    """A block's outputs as they are stored."""
    return output_table(
        [item.sample.id for item in items],
        [item.status.value for item in items],
        [item.error for item in items],
        [item.code if item.ok else None for item in items],
        [item.seconds for item in items],
    )


def observation_rows(items: Sequence[Item], columns: Columns) -> pa.Table:
    """Rows of the samples that were observed; the others have nulls."""
    seen = np.flatnonzero([item.ok for item in items])
    statuses = [item.status.value for item in items]
    errors = [item.error for item in items]
    for row, place in enumerate(seen):
        statuses[place] = str(columns["status"][row]) if "status" in columns else Status.OK.value
        errors[place] = first_written(str(columns["error"][row])) if "error" in columns else ""
    return observation_table(
        [item.sample.id for item in items],
        statuses,
        errors,
        {name: values for name, values in columns.items() if name not in RESERVED},
        seen,
    )


def first_written(text: str) -> str:
    """The first line of a text that has any."""
    return next(iter(text.strip().splitlines()), "")


def output_table(
    ids: Sequence[str],
    statuses: Sequence[str],
    errors: Sequence[str],
    codes: Sequence[Code | None],
    seconds: Sequence[float],
) -> pa.Table:
    """Outputs, a row a sample; failed ones have no code."""
    return pa.table(
        {
            "id": list(ids),
            "status": list(statuses),
            "error": list(errors),
            "payload": pa.array([code and code.payload for code in codes], pa.binary()),
            "bits": pa.array([code and code.bits for code in codes], pa.float64()),
            "height": pa.array([code and code.height for code in codes], pa.int32()),
            "width": pa.array([code and code.width for code in codes], pa.int32()),
            "seconds": list(seconds),
        }
    )


def observation_table(
    ids: Sequence[str],
    statuses: Sequence[str],
    errors: Sequence[str],
    columns: Columns,
    places: Sequence[int] | np.ndarray,
) -> pa.Table:
    """Observations, a row a sample; failed ones have nulls for numbers, and keep their texts.

    Args:
        ids: One a sample.
        statuses: One a sample.
        errors: One a sample; empty where the status is ok.
        columns: A cell for each of `places`.
        places: Positions of the samples that were observed.
    """
    data: dict[str, Any] = {"id": list(ids), "status": list(statuses), "error": list(errors)}
    for name, values in columns.items():
        cells: list[Any] = [None] * len(ids)
        for place, value in zip(places, values, strict=True):
            if statuses[place] == Status.OK or values.dtype == object:
                cells[place] = value
        if values.dtype == object:
            data[name] = pa.array(cells, pa.string())
        elif values.ndim == 2:
            kind = pa.from_numpy_dtype(values.dtype)
            data[name] = pa.array(cells, pa.list_(kind, values.shape[1]))
        else:
            data[name] = pa.array(cells, pa.from_numpy_dtype(values.dtype))
    return pa.table(data)
