"""Weights of small rivals: a formula of their names' order, so that no file has to hold them."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def fill(network: nn.Module) -> nn.Module:
    """Give every parameter values within 0.4, other ones each, in the order of their names."""
    for number, (_, weight) in enumerate(sorted(network.named_parameters())):
        steps = torch.arange(weight.numel(), dtype=torch.float64)
        # Squared, so that no two rows are alike.
        values = 0.4 * torch.sin(steps**2 * (2 + 0.37 * number) + number)
        weight.copy_(values.view(weight.shape))
    return network.eval()
