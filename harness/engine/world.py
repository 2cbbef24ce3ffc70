"""The processes and threads of a run: who works on which blocks; arithmetic that repeats itself.

Processes take blocks in strides, unpadded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from harness.interfaces.errors import UserError

T = TypeVar("T")

_BARRIER_TIMEOUT = timedelta(days=14)


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


@contextmanager
def reproducible(device: str) -> Iterator[int]:
    """Set up arithmetic that repeats itself to the bit; yields the cores to work with.

    On a processor every operation runs on one thread, because another thread count gives other last
    bits; the cores are used by working on several blocks at a time, one lane each. On a GPU TF32 is
    off: it moves features by as much as a wrong protocol does.
    """
    import torch

    if device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield max(threads, _share_of_cores()) if _launcher_chose_one_thread() else threads
    finally:
        torch.set_num_threads(threads)


def _launcher_chose_one_thread() -> bool:
    """Whether torchrun, which sets OMP_NUM_THREADS=1 for several processes, decided the threads."""
    several = _whole_number("LOCAL_WORLD_SIZE", "1") > 1
    return several and os.environ.get("OMP_NUM_THREADS") == "1"


def _share_of_cores() -> int:
    """The cores of this machine for each of its processes, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // _whole_number("LOCAL_WORLD_SIZE", "1"))
