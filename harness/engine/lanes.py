"""Arithmetic whose bits depend on its inputs alone, and the threads that share out the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reproducible(device: str) -> Iterator[int]:
    """Set up arithmetic that repeats itself to the bit; yields the lanes to work in.

    On a CPU every operation runs on one thread, because another thread count gives other last
    bits; the cores are used by working on several blocks at a time, one lane each. On a GPU there
    is one lane, and TF32 is off: it moves features by as much as a wrong protocol does.
    """
    import torch

    if device == "cpu":
        lanes = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield lanes
        finally:
            torch.set_num_threads(lanes)
    else:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        yield 1
