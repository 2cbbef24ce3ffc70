"""Figures of whole sets on all cores, in arithmetic that does not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")

_MOST = 16
"""Threads at most: each may hold several matrices of 2,048 x 2,048."""


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let every call of BLAS and LAPACK run on one thread: another number gives other last bits.

    Factorisations gain little from more; the cores are used by `over_cores`.
    """
    with threadpool_limits(1, user_api="blas"):
        yield


def over_cores(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What the work gives for each item, in their order; the work is to release the lock."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(min(cores or 1, _MOST)) as pool:
        return list(pool.map(work, items))
