"""What steps leave on the device, to be read at log lines only: means of terms, and bad steps.

Reading a number off a GPU waits until it has done all that it was given, and then leaves it idle
until it is given more; so no step reads any.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

from uniwetok.train import TrainingError


class RunningMeans:
    """Means of named terms over steps and processes."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sums: dict[str, Tensor] = {}
        self._counted = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Count a step's terms, () each, without gradient."""
        for name, value in terms.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counted += 1

    def read(self) -> dict[str, float]:
        """Give the means since the last reading; every process must call this."""
        if not self._counted:
            return {}
        stacked = torch.stack([value.float() for value in self._sums.values()]) / self._counted
        means = self._accelerator.reduce(stacked, "mean").tolist()
        names = list(self._sums)
        self._sums, self._counted = {}, 0
        return dict(zip(names, means, strict=True))


class FirstBadStep:
    """The first step whose loss or gradient was not finite on any process.

    From that step on the optimisers are told to leave the weights as they are, on the device, so
    that whoever reads this some steps later still finds the weights of before.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._number = torch.full((), -1, dtype=torch.int64, device=accelerator.device)

    def judge(self, number: int, checked: Tensor) -> Tensor:
        """Look at a step; every process must call this.

        Args:
            number: of the step, from 0.
            checked: () what has to be finite.

        Returns:
            () 1.0 if this step or an earlier one was bad, else 0.0: a fused optimiser's
            ``found_inf``.
        """
        # Of all processes: one that stopped alone would leave the others waiting.
        bad = self._accelerator.reduce((~torch.isfinite(checked)).float(), "sum") > 0
        self._number.masked_fill_(bad & (self._number < 0), number)
        return (self._number >= 0).float()

    def check(self) -> None:
        """Raise `TrainingError` if a step was bad; this waits for the device."""
        number = int(self._number.item())
        if number >= 0:
            raise TrainingError(f"step {number + 1}: the loss or its gradient is not finite")
