"""Blocks worked on at a time, each by a thread of its own, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")

_READ_AHEAD = 2
"""Blocks that are begun before a lane is free for them."""
_GPU_LANES = 4, 8
"""Least and most lanes where a GPU computes: one has it, others read, measure and write."""


def lanes_for(device: str, cores: int) -> int:
    """Lanes that keep a device busy, of a machine whose cores they share."""
    least, most = _GPU_LANES
    return cores if device == "cpu" else min(max(cores, least), most)


def in_order(
    lanes: Executor, count: int, jobs: Iterable[Callable[[], T]]
) -> Generator[T, None, None]:
    """Results of jobs in their order, worked on by `count` lanes; few more are begun ahead.

    What a job raises is raised here; close the iterator, and those that wait are dropped.
    """
    under_way: deque[Future[T]] = deque()
    try:
        for job in jobs:
            under_way.append(lanes.submit(job))
            if len(under_way) >= count + _READ_AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()
