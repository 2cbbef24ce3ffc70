"""The processes and threads of a run: who works on which blocks; arithmetic that repeats itself.

Shards, then the processes of one, take blocks in strides, unpadded.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from harness.interfaces.errors import UserError, first_line

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from harness.interfaces.protocols import ModelPrecision

T = TypeVar("T")

LOST = (
    "another process of this run has ended before its time: the log of its machine says why, and "
    "the same command goes on from here, with any number of processes"
)
"""What one of the others says."""
_BARRIER_TIMEOUT = timedelta(days=14)
_LOOK_EVERY = 0.02
"""Seconds between looks at who has come."""
_LAUNCHERS = ("TORCHELASTIC_", "ACCELERATE_", "MASTER_", "ROLE_", "GROUP_")
"""How the names begin that torchrun and accelerate give to what a process is among others."""


def _whole_number(variable: str, default: str) -> int:
    text = os.environ.get(variable, default)
    if not text.isdecimal():
        raise UserError(f"environment variable {variable}={text!r} is not a whole number: unset it")
    return int(text)


def parse_shard(text: str | None) -> tuple[int, int]:
    """'2/4' as (1, 4), the whole as (0, 1); raise `UserError` for what is no share."""
    if text is None:
        return 0, 1
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"--shard {text}: give I/N with I from 1 to N, as in --shard 1/4")
    return number - 1, count


@dataclass(frozen=True, slots=True)
class World:
    """The processes of one run as torchrun names them, and the shard of it that is theirs."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    shard: int = 0
    """From 0."""
    shards: int = 1

    @classmethod
    def from_environment(cls, shard: str | None = None) -> World:
        """Read RANK, WORLD_SIZE and LOCAL_RANK; a single process where they are absent.

        Args:
            shard: The part of the run that these processes do, such as '2/4'; all of it if None.
        """
        own, shards = parse_shard(shard)
        return cls(
            rank=_whole_number("RANK", "0"),
            size=_whole_number("WORLD_SIZE", "1"),
            local_rank=_whole_number("LOCAL_RANK", "0"),
            shard=own,
            shards=shards,
        )

    @property
    def title(self) -> str:
        """Which share of a run is this process's, for people; empty where it is all of it."""
        shard = f"shard {self.shard + 1} of {self.shards}" if self.shards > 1 else ""
        process = f"{self.rank + 1} of {self.size} processes" if self.size > 1 else ""
        return ", ".join(filter(None, [shard, process]))

    @property
    def is_main(self) -> bool:
        """Whether this process merges, scores and talks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every size-th item of the shard's from rank on: shares are disjoint and cover all."""
        return items[self.shard :: self.shards][self.rank :: self.size]

    def join(self, device: str) -> None:
        """Start the process group where there is more than one process.

        It is gloo's on GPUs too: processes tell each other names and numbers, never tensors, and
        gloo says at once where one on another machine has gone.
        """
        if self.size == 1:
            return
        import torch
        from torch import distributed
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        if device.startswith("cuda"):
            torch.cuda.set_device(torch.device(device))
        with _together():
            shared, _, _ = next(rendezvous("env://", timeout=_BARRIER_TIMEOUT))
            round_ = met_in(shared, self.rank, self.size)
            store = PrefixStore(round_, shared)
            distributed.init_process_group(
                "gloo", store=store, rank=self.rank, world_size=self.size, timeout=_BARRIER_TIMEOUT
            )

    def barrier(self) -> None:
        """Wait for every process; raise `UserError` where one has gone."""
        if self.size > 1:
            from torch import distributed

            with _together():
                distributed.barrier()

    def broadcast(self, value: T | None) -> T:
        """Hand the main process's value to all; the others pass None; raises as `barrier`."""
        if self.size > 1:
            from torch import distributed

            holder = [value]
            with _together():
                distributed.broadcast_object_list(holder, src=0)
            value = holder[0]
        assert value is not None
        return value

    def total(self, name: str, done: int) -> int:
        """Tell how much is done here; in the main process, how much all have told so far.

        Nobody is waited for.
        """
        if self.size == 1:
            return done
        store = _store()
        store.set(f"done/{name}/{self.rank}", str(done))
        if not self.is_main:
            return done
        return sum(int(store.add(f"done/{name}/{rank}", 0)) for rank in range(self.size))

    def speaks(self) -> bool:
        """Whether this process says for all why the run ends: the first one that is asked does."""
        if self.size == 1:
            return True
        try:
            return int(_store().add("said", 1)) == 1
        except (RuntimeError, ValueError):  # It is gone with a process, or was never there.
            return self.is_main

    def leave(self) -> None:
        """End the process group, if one was started."""
        if self.size > 1:
            from torch import distributed

            if distributed.is_initialized():
                distributed.destroy_process_group()


def met_in(store: Store, rank: int, size: int) -> str:
    """A name that the processes that are here now agree on, and none that were here before know.

    torchrun's store outlives the processes that it starts again: under the names that torch itself
    would use there are addresses of the dead, which are waited for in vain. Everyone else tells the
    main process a word that was never used, and waits for the answer to it.
    """
    word = uuid.uuid4().hex
    if rank > 0:
        store.set(f"met/{rank}", word)
        name: str = store.get(f"met/{word}").decode()
        store.add(f"met/{name}", 1)
        return name
    answered: set[str] = set()
    while store.add(f"met/{word}", 0) < size - 1:
        there = [f"met/{other}" for other in range(1, size) if store.check([f"met/{other}"])]
        # A word may be from before: its place is looked at until all have their answer.
        for heard in {store.get(place).decode() for place in there} - answered:
            store.set(f"met/{heard}", word)
            answered.add(heard)
        time.sleep(_LOOK_EVERY)
    return word


def _store() -> Any:
    """What the processes of the group all reach; torchrun's own, which outlives any of them."""
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()


def environment_alone(*, keep_threads: bool) -> dict[str, str]:
    """The environment for a process of our own that takes no part in what a launcher began.

    Args:
        keep_threads: Whether it works on the one thread that torchrun chooses for each of several
            processes. Another number gives other last bits where a network works on a processor.
    """
    ours = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}
    if not keep_threads and _launcher_chose_one_thread():
        ours.add("OMP_NUM_THREADS")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith(_LAUNCHERS)
    }


@contextmanager
def _together() -> Iterator[None]:
    """Say in one line that another process has gone; torchrun of its machine ends those beside."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(f"{LOST} ({first_line(error)})") from error


@contextmanager
def reproducible(device: str) -> Iterator[int]:
    """Set up arithmetic that repeats itself to the bit; yields the cores to work with.

    On a processor every operation runs on one thread, because another thread count gives other last
    bits; the cores are used by working on several blocks at a time, one lane each. On a GPU TF32 is
    off, but for a model whose protocol lets it: features move by as much as by a wrong protocol.
    """
    import torch

    if device.startswith("cuda"):
        _allow_tf32(False)
        torch.backends.cudnn.benchmark = False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield max(threads, _share_of_cores()) if _launcher_chose_one_thread() else threads
    finally:
        torch.set_num_threads(threads)


@contextmanager
def model_arithmetic(device: str, precision: ModelPrecision) -> Iterator[None]:
    """Let a model compute in a protocol's precision, and leave all else in strict float32.

    TF32 is a switch of the whole process: whoever lets a model work on a GPU has its turn there.
    """
    import torch

    kind = device.partition(":")[0]
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    loose = kind == "cuda" and precision != "fp32"
    if loose:
        _allow_tf32(True)
    try:
        with nullcontext() if half is None else torch.autocast(kind, half):
            yield
    finally:
        if loose:
            _allow_tf32(False)


def _allow_tf32(allowed: bool) -> None:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def _launcher_chose_one_thread() -> bool:
    """Whether torchrun, which sets OMP_NUM_THREADS=1 for several processes, decided the threads."""
    several = _whole_number("LOCAL_WORLD_SIZE", "1") > 1
    return several and os.environ.get("OMP_NUM_THREADS") == "1"


def _share_of_cores() -> int:
    """The cores of this machine for each of its processes, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // _whole_number("LOCAL_WORLD_SIZE", "1"))
