"""The processes, device and threads of a run: who works on which blocks, and on how many lanes.

Shards, then the processes of one, take blocks in strides, unpadded. Arithmetic repeats itself to
the bit. Torch is asked only where it has to be.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.interfaces.errors import UserError
from harness.interfaces.observing import ARITHMETIC, usable_cores

if TYPE_CHECKING:
    from harness.interfaces.protocols import ModelPrecision

T = TypeVar("T")

_DRIVERS = ("nvidiactl", "nvidia0", "nvhost-gpu", "nvmap", "dxg", "kfd")
"""Files in /dev of which a GPU's driver makes one: NVIDIA's, Tegra's, WSL's, AMD's."""
_READ_AHEAD = 2
"""Blocks that are begun before a lane is free for them."""
_GPU_LANES = 4, 8
"""Least and most lanes where a GPU computes: one has it, others read, measure and write."""
_LAUNCHERS = ("TORCHELASTIC_", "ACCELERATE_", "MASTER_", "ROLE_", "GROUP_")
"""How the names begin that torchrun and accelerate give to what a process is among others."""


def _whole_number(variable: str, default: str) -> int:
    text = os.environ.get(variable, default).strip()
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

        Raises:
            UserError: The shard is none, or one of these variables, or OMP_NUM_THREADS, no number.
        """
        if os.environ.get("OMP_NUM_THREADS", "").strip():
            # Some of the libraries fail at another text as they are imported, in the midst of work.
            _whole_number("OMP_NUM_THREADS", "1")
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

    def join(self, device: str, backend: str = "gloo") -> None:
        """Start the process group where there is more than one process."""
        if self.size > 1:
            from harness.engine import processes

            processes.join(self.rank, self.size, device, backend)

    def barrier(self) -> None:
        """Wait for every process; raise `UserError` where one has gone."""
        if self.size > 1:
            from harness.engine import processes

            processes.barrier()

    def broadcast(self, value: T | None) -> T:
        """Hand the main process's value to all; the others pass None; raises as `barrier`."""
        if self.size > 1:
            from harness.engine import processes

            value = processes.broadcast(value)
        assert value is not None
        return value

    def total(self, name: str, done: int) -> int:
        """Tell how much is done here; in the main process, how much all have told so far.

        Nobody is waited for.
        """
        if self.size == 1:
            return done
        from harness.engine import processes

        return processes.total(name, done, self.rank, self.size)

    def speaks(self) -> bool:
        """Whether this process says for all why the run ends: the first one that is asked does."""
        if self.size == 1:
            return True
        from harness.engine import processes

        return processes.speaks_first(otherwise=self.is_main)

    def leave(self) -> None:
        """End the process group, if one was started."""
        if self.size > 1:
            from harness.engine import processes

            processes.leave()


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


def resolve_device(name: str, world: World) -> str:
    """Turn 'auto' or 'cuda' into this process's device; raise `UserError` where there is none."""
    device = likely_device(name, world)
    if device == "cpu" and name == "cpu":
        return device
    if device == "mps":
        if not _torch_has_mps():
            raise UserError("--device mps: torch sees no Apple GPU here; use --device cpu")
        return device
    if _may_have_cuda() and _torch_has_cuda():
        return device
    if name == "auto":
        return "cpu"
    raise UserError(f"--device {name}: torch sees no CUDA device here; use --device cpu")


def likely_device(name: str, world: World) -> str:
    """The same as far as it is known without torch, whose import takes seconds.

    'auto' never means an Apple GPU: its arithmetic is not held to that of the others by any test.

    Raises:
        UserError: No device has such a name.
    """
    if name == "auto":
        name = "cuda" if _may_have_cuda() else "cpu"
    if name not in {"cpu", "mps"} and not re.fullmatch(r"cuda(:\d+)?", name):
        raise UserError(f"--device {name}: use auto, cpu, cuda, cuda:N or mps")
    return f"cuda:{world.local_rank}" if name == "cuda" else name


def _may_have_cuda() -> bool:
    """Whether torch may find a GPU: it has, where it is here, or a driver is installed."""
    if "torch" in sys.modules:
        return _torch_has_cuda()
    if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return False
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", "C:/Windows"), "System32/nvcuda.dll").exists()
    return any(Path("/dev", driver).exists() for driver in _DRIVERS)


def _torch_has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _torch_has_mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


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


@contextmanager
def reproducible(device: str) -> Iterator[int]:
    """Set up arithmetic that repeats itself to the bit; yields the cores to work with.

    On a processor every operation runs on one thread, because another thread count gives other last
    bits; the cores are used by working on several blocks at a time, one lane each. On a GPU TF32 is
    off, but for a model whose protocol lets it: features move by as much as by a wrong protocol.
    A training that is evaluated along the way has its own arithmetic again afterwards.
    """
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    if device.startswith("cuda"):
        _allow_tf32(False)
        # What metric networks ask for as they begin, for they begin while a model works.
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield max(threads, _share_of_cores()) if _launcher_chose_one_thread() else threads
    finally:
        torch.set_num_threads(threads)
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


@contextmanager
def model_arithmetic(device: str, precision: ModelPrecision) -> Iterator[None]:
    """Let a model compute in a protocol's precision, and leave all else in strict float32.

    TF32 is a switch of the whole process: whoever lets a model work on a GPU has its turn there,
    and networks that compute beside it wait to begin.
    """
    import torch

    kind = device.partition(":")[0]
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    loose = kind == "cuda" and precision != "fp32"
    with ARITHMETIC if loose else nullcontext():
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
    return max(1, usable_cores() // _whole_number("LOCAL_WORLD_SIZE", "1"))
