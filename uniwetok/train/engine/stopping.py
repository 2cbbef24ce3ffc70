"""Stopping a run after a step, which all its processes must agree on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

_LAG = 2
"""Steps between asking and acting on a GPU, by which the answer has come without waiting for it."""


class Stopped(Exception):
    """A run that was told to stop, with all it needs to go on."""

    def __init__(self, step: int, steps: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step:,} of {steps:,}, kept in {checkpoint}")


class Agreement:
    """Whether any process was told to stop, answered alike in all of them at the same step.

    A signal reaches the processes between different steps; one that stopped alone would leave the
    others waiting for its gradients.
    """

    def __init__(self, accelerator: Accelerator, told: Callable[[], bool]) -> None:
        """Listen.

        Args:
            accelerator: the processes.
            told: says whether this process was told to stop.
        """
        self._accelerator = accelerator
        self._told = told
        self._asked: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def stops(self) -> bool:
        """Say whether to stop after this step; every process must call this after every step."""
        if self._accelerator.num_processes == 1:
            return self._told()
        device = self._accelerator.device
        own = torch.tensor(float(self._told())).to(device, non_blocking=True)
        answer: Tensor = self._accelerator.reduce(own, "sum").to("cpu", non_blocking=True)
        event = None
        if device.type == "cuda":
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._asked.append((answer, event))
        if event is not None and len(self._asked) <= _LAG:
            return False
        answer, event = self._asked.popleft()
        if event is not None:
            event.synchronize()
        return bool(answer)
