"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Ema:
    """Averages weights after every step, as released: no warm-up, no correction of the start.

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
        self._weights = [weight.detach() for weight in weights.values()]
        self.averages = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move every average towards its weight by ``1 - decay``."""
        torch._foreach_lerp_(list(self.averages.values()), self._weights, 1 - self.decay)
