"""Blocks of samples, and who works on them.

A block is a fixed run of neighbouring samples: the unit that is computed, written and resumed as
one. Blocks depend on the sample order alone, processes take them in strides, and nothing is padded,
so a network sees the same batches whatever the number of processes and wherever a run was cut.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from harness.errors import UserError

T = TypeVar("T")

CPU_BLOCK = 4
"""Samples a block on a CPU: seconds of work, so that little is lost when a run is killed."""
GPU_BLOCK = 64
"""Samples a block on a GPU: the largest batch one forward pass may get."""

_BARRIER_TIMEOUT = timedelta(days=14)


def block_size(device: str) -> int:
    """Samples a block on `device`."""
    return CPU_BLOCK if device == "cpu" else GPU_BLOCK


def blocks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut items into runs of `size`; the last may be shorter."""
    if size < 1:
        raise ValueError(f"block size must be at least 1, got {size}")
    return [items[start : start + size] for start in range(0, len(items), size)]


def _whole_number(variable: str, default: str) -> int:
    text = os.environ.get(variable, default)
    if not text.isdecimal():
        raise UserError(f"environment variable {variable}={text!r} is not a whole number: unset it")
    return int(text)


@dataclass(frozen=True, slots=True)
class World:
    """The processes of one run, as torchrun names them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> World:
        """Read RANK, WORLD_SIZE and LOCAL_RANK; a single process where they are absent."""
        return cls(
            rank=_whole_number("RANK", "0"),
            size=_whole_number("WORLD_SIZE", "1"),
            local_rank=_whole_number("LOCAL_RANK", "0"),
        )

    @property
    def is_main(self) -> bool:
        """Whether this process merges, scores and talks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every size-th item from rank on: the shares are disjoint and cover all."""
        return items[self.rank :: self.size]

    def join(self, device: str) -> None:
        """Start the process group where there is more than one process (gloo, or nccl on a GPU)."""
        if self.size == 1:
            return
        import torch
        from torch import distributed

        if device.startswith("cuda"):
            torch.cuda.set_device(torch.device(device))
        backend = "nccl" if device.startswith("cuda") else "gloo"
        distributed.init_process_group(backend, timeout=_BARRIER_TIMEOUT)

    def barrier(self) -> None:
        """Wait for every process."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()

    def broadcast(self, value: T | None) -> T:
        """Hand the main process's value to all; the others pass None."""
        if self.size > 1:
            from torch import distributed

            holder = [value]
            distributed.broadcast_object_list(holder, src=0)
            value = holder[0]
        assert value is not None
        return value

    def leave(self) -> None:
        """End the process group, if one was started."""
        if self.size > 1:
            from torch import distributed

            if distributed.is_initialized():
                distributed.destroy_process_group()
