"""Peak memory above what the inputs take, each figure from a fresh process (Linux only)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Prepare = Callable[..., Callable[[], Any]]
"""Makes the inputs and returns what is to be measured; a function of a module."""


@dataclass(frozen=True)
class MemoryComparison:
    """Peak growth of the same work by us and by a peer."""

    label: str
    ours: Prepare
    peer: Prepare
    arguments: tuple[int, ...]
    less: tuple[int, ...] | None = None
    """Arguments of a smaller piece of work whose growth is taken off."""
    goal: float | None = None
    """MB."""

    def measure(self) -> MemoryLine:
        """Run both, one after the other."""
        ours, peer = (self._growth(work) for work in (self.ours, self.peer))
        return MemoryLine(self.label, ours, peer, self.goal)

    def _growth(self, work: Prepare) -> float:
        growth = peak_growth(work, *self.arguments)
        return growth if self.less is None else growth - peak_growth(work, *self.less)


@dataclass(frozen=True)
class MemoryLine:
    """Megabytes of peak growth."""

    label: str
    ours: float
    peer: float
    goal: float | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        return None if self.goal is None else self.ours <= self.goal


def peak_growth(prepare: Prepare, *arguments: Any) -> float:
    """Megabytes that a piece of work adds to a fresh process at its peak."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(_growth, prepare, arguments).result()


def _growth(prepare: Prepare, arguments: tuple[Any, ...]) -> float:
    work = prepare(*arguments)
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1e6


def _status(field: str) -> int:
    """Bytes; unlike `getrusage`, whose peak a process inherits from the one that started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(value) * 1024
