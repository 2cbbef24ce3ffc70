"""Reading examples in worker processes, in order, and stopping where too many cannot be read."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
        items,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        generator=own,
        worker_init_fn=_deafen,
        pin_memory=pinned,
    )
    try:
        # To pin, the loader has a thread of its own.
        yield from _taken_ahead(iter(loader)) if workers and not pinned else loader
    except (RuntimeError, OSError, EOFError) as error:
        if not workers:
            raise
        raise TrainingError(
            f"a process that decodes images failed ({error}); if memory or shared memory ran out, "
            f"lower workers={workers} (0 decodes without processes)"
        ) from error


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
