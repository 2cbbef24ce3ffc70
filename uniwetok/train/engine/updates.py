"""One step of an optimiser, and the running means of what is logged."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from uniwetok.train.engine.errors import TrainingError
from uniwetok.train.engine.optimizers import set_learning_rate
from uniwetok.train.engine.state import full

MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""A configuration's precision as Accelerate names it."""


def no_sync(accelerator: Accelerator, network: nn.Module, wanted: bool) -> Any:
    """Hold back the exchange of gradients among processes, where wanted."""
    return accelerator.no_sync(network) if wanted else nullcontext()


def update(
    accelerator: Accelerator,
    network: nn.Module,
    optimizer: Any,
    *,
    rate: float,
    limit: float | None,
    loss: Tensor,
) -> Tensor:
    """Step one optimiser.

    Args:
        accelerator: of the run.
        network: whose gradients were computed.
        optimizer: prepared by the accelerator.
        rate: learning rate of this step.
        limit: norm that gradients are clipped to; None does not clip.
        loss: of the step; checked.

    Returns:
        The norm of the gradients before clipping.

    Raises:
        TrainingError: the loss or a gradient is not finite, on any process; nothing was changed.
    """
    accelerator.unscale_gradients(optimizer)
    weights = list(network.parameters())
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = full(torch.nn.utils.get_total_norm(gradients))
    # In float16 the scaler skips steps whose gradients overflow: part of how it works.
    checked = loss if accelerator.mixed_precision == "fp16" else loss + norm
    bad = (~torch.isfinite(checked)).float()
    if accelerator.reduce(bad, "sum").item():
        optimizer.zero_grad()
        raise TrainingError("the loss or its gradient is not finite")
    if limit is not None:
        torch.nn.utils.clip_grads_with_norm_(weights, limit, norm)
    set_learning_rate(optimizer, rate)
    optimizer.step()
    optimizer.zero_grad()
    return norm


class RunningMeans:
    """Means of named terms over steps and processes."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sums: dict[str, Tensor] = {}
        self._counted = 0

    def add(self, terms: dict[str, Tensor]) -> None:
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
