"""Adam, AdamW, their learning rate, and the moving average of what they train."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from uniwetok.train.engine.settings import OptimizerConfig


def build_adam(parameters: Iterable[Tensor], config: OptimizerConfig) -> torch.optim.Adam:
    """Build the optimiser of one network."""
    return torch.optim.Adam(
        parameters,
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        fused=True,
    )


def build_adamw(
    weights: Mapping[str, Tensor], config: OptimizerConfig, undecayed: Sequence[str]
) -> torch.optim.AdamW:
    """Build the optimiser of one network, with weight decay on some of its weights.

    Args:
        weights: by name.
        config: rate, betas and decay.
        undecayed: parts of names; weights that have one, and all of fewer than two dimensions, do
            not decay.
    """
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, weight in weights.items():
        # Gains and biases set a scale of their own, which decay would pull to zero.
        decays = weight.ndim >= 2 and not any(part in name for part in undecayed)
        groups[decays].append(weight)
    return torch.optim.AdamW(
        [
            {"params": groups[True], "weight_decay": config.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.epsilon,
        fused=True,
    )


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Give the learning rate of a step.

    It rises linearly over ``config.warmup_steps`` to ``config.learning_rate``; then it stays, or
    falls along half a cosine to ``config.final_ratio`` of it at the last step.

    Args:
        config: rate, schedule and warm-up.
        step: from 0.
        steps: of the whole run.
    """
    if step < config.warmup_steps:
        # From the first step on: at a rate of 0 it would only burn a batch.
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    # The last step is steps - 1, so that it has the final rate and not one just above it.
    progress = (step - config.warmup_steps) / max(1, steps - 1 - config.warmup_steps)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * (config.final_ratio + (1 - config.final_ratio) * fall)


class Ema:
    """Exponential moving averages of weights, as released: no warm-up, no correction of the start.

    Attributes:
        averages: by name, each in the dtype, on the device and in the shards of its weight.
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        """Start as a copy.

        Args:
            weights: what is averaged, by name.
            decay: share of the average that a step keeps, in [0, 1).
        """
        self.decay = decay
        # Of a frozen weight's -0.0 averaging makes 0.0: no code changes, but the digest does by
        # which a model of codes knows their encoder.
        self._trained = [name for name, weight in weights.items() if weight.requires_grad]
        self._weights = [weights[name].detach() for name in self._trained]
        self.averages = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average of every weight that is trained towards it by ``1 - decay``."""
        # One fused kernel for all weights: one launch each would take longer than the arithmetic.
        averages = [self.averages[name] for name in self._trained]
        torch._foreach_lerp_(averages, self._weights, 1 - self.decay)
