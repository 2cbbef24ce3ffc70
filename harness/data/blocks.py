"""Blocks of samples: fixed runs of neighbours, the unit that is computed, written and resumed.

Blocks depend on the sample order alone, so a network sees the same batches whatever the number of
processes and wherever a run was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

CPU_BLOCK = 4
"""Samples a block on a CPU: seconds of work, so that little is lost when a run is killed."""
GPU_BLOCK = 64
"""Samples a block on a GPU: the largest batch one forward pass may get."""


def block_size(device: str) -> int:
    """Samples a block on `device`."""
    return CPU_BLOCK if device == "cpu" else GPU_BLOCK


def blocks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut items into runs of `size`; the last may be shorter."""
    if size < 1:
        raise ValueError(f"block size must be at least 1, got {size}")
    return [items[start : start + size] for start in range(0, len(items), size)]
