"""Reading examples in worker processes, in order, and stopping where too many cannot be read."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from multiprocessing.process import BaseProcess
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from uniwetok.train import TrainingError

OnBlock = Callable[[int, int], None]
"""Takes how many examples are done and how many there are."""

READS_BEFORE_STOP = 100
"""Fewer reads say too little about the share of unreadable ones."""

T = TypeVar("T")


def read_ahead(
    items: Dataset[T], numbers: range, workers: int, *, pinned: bool = False
) -> Iterator[T]:
    """Yield the items of some numbers, in order; torch's random state is left alone.

    Args:
        items: what is read; it must allow to be pickled.
        numbers: which.
        workers: processes that read ahead; 0 reads in this one. Changes no result.
        pinned: hand out what each item's ``pin_memory`` gives, from which copies to a GPU need not
            be waited for.

    Raises:
        TrainingError: a worker died.
    """
    # Without a generator of its own the loader would draw from torch's.
    own = torch.Generator()
    loader = DataLoader(
        _Shared(items) if workers else items,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        generator=own,
        worker_init_fn=_deafen,
        pin_memory=pinned,
    )
    try:
        with _own_workers():
            batches = iter(loader)
        # To pin, the loader has a thread of its own.
        for item in _taken_ahead(batches) if workers and not pinned else batches:
            if isinstance(item, _NoRoom):
                raise RuntimeError(item.reason)
            yield item
    except (RuntimeError, OSError, EOFError) as error:
        if not workers:
            raise
        raise TrainingError(
            f"a process that decodes images failed ({error}); if memory or shared memory ran out, "
            f"lower workers={workers} (0 decodes without processes)"
        ) from error


@contextmanager
def _own_workers() -> Iterator[None]:
    """Have workers that are started within end with this process, and die without a stir.

    Torch would raise a worker's death wherever this process is, outside of any `try`; whoever waits
    for the worker looks every five seconds whether it still lives. And Python's end, where an error
    has kept the workers, would ask them by SIGTERM, to which they are deaf, and wait.
    """
    handler, others = signal.getsignal(signal.SIGCHLD), multiprocessing.active_children()
    yield
    if handler is not None and signal.getsignal(signal.SIGCHLD) is not handler:
        signal.signal(signal.SIGCHLD, handler)
    for worker in multiprocessing.active_children():
        if worker not in others:
            atexit.register(_kill, weakref.ref(worker))


def _kill(worker: weakref.ref[BaseProcess]) -> None:
    alive = worker()
    if alive is not None and alive.is_alive():
        alive.kill()


@dataclass(frozen=True)
class _NoRoom:
    """In place of an item for which there was no shared memory."""

    reason: str


class _Shared(Dataset[T | _NoRoom]):
    """Items whose tensors lie in shared memory before they are handed on.

    Left to torch, a thread that nobody hears does so, and where it fails the item is waited for
    without end.
    """

    def __init__(self, items: Dataset[T]) -> None:
        self._items = items

    def __getitem__(self, number: int) -> T | _NoRoom:
        item = self._items[number]
        try:
            _share(item)
        except RuntimeError as error:
            return _NoRoom(str(error).splitlines()[0])
        return item


def _share(value: object) -> None:
    if isinstance(value, torch.Tensor):
        value.share_memory_()  # type: ignore[no-untyped-call]
    elif isinstance(value, Mapping):
        for each in value.values():
            _share(each)
    elif isinstance(value, list | tuple):
        for each in value:
            _share(each)
    elif is_dataclass(value):
        for field in fields(value):
            _share(getattr(value, field.name))


def _taken_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items, the next of which a thread takes from its worker meanwhile."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
    finally:
        pool.shutdown(wait=False)  # A place that hangs holds nobody up who needs no more of it.


def _deafen(_: int) -> None:
    """Leave Ctrl-C and Slurm's SIGTERM, which reach the whole group, to the process that reads.

    It may go on to the end of a step, and needs its workers until then.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def check_readable(unreadable: int, read: int, limit: float, example: str) -> None:
    """Refuse data of which too large a share cannot be read.

    Args:
        unreadable: images that could not be read.
        read: images that were tried.
        limit: largest share that is left out in silence, in 0..1.
        example: one of the reasons.

    Raises:
        TrainingError: the share is larger, and enough were tried to tell.
    """
    if read >= READS_BEFORE_STOP and unreadable > limit * read:
        raise TrainingError(
            f"{unreadable} of {read} images could not be read, more than data.corrupt_limit="
            f"{limit}; {example}; repair or remove them, or raise data.corrupt_limit"
        )
