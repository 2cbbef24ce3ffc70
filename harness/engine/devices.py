"""Where networks work: what `--device` means here, and how many lanes keep a device busy.

Torch is asked only where it has to be.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TypeVar

from harness.engine.world import World
from harness.interfaces.errors import UserError

T = TypeVar("T")

_DRIVERS = ("nvidiactl", "nvidia0", "nvhost-gpu", "nvmap", "dxg", "kfd")
"""Files in /dev of which a GPU's driver makes one: NVIDIA's, Tegra's, WSL's, AMD's."""
_READ_AHEAD = 2
"""Blocks that are begun before a lane is free for them."""
_GPU_LANES = 4, 8
"""Least and most lanes where a GPU computes: one has it, others read, measure and write."""


def resolve_device(name: str, world: World) -> str:
    """Turn 'auto' or 'cuda' into this process's device; raise `UserError` where there is none."""
    device = likely_device(name, world)
    if device == "cpu" and name == "cpu":
        return device
    if _may_have_cuda() and _torch_has_cuda():
        return device
    if name == "auto":
        return "cpu"
    raise UserError(f"--device {name}: torch sees no CUDA device here; use --device cpu")


def likely_device(name: str, world: World) -> str:
    """The same as far as it is known without torch, whose import takes seconds.

    Raises:
        UserError: No device has such a name.
    """
    if name == "auto":
        name = "cuda" if _may_have_cuda() else "cpu"
    if name != "cpu" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise UserError(f"--device {name}: use auto, cpu, cuda or cuda:N")
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
