"""Precision of losses, and sums over a batch whose memory does not grow with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = 1 << 16
"""Latent values that ``batch_sum`` holds intermediate results of, at least one sample's."""
_ACCELERATOR_CHUNKS = 4
"""Times as many on an accelerator, where small pieces cost more to launch than to compute."""


def full_precision(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or as it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


def batch_sum(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Sum a function over pieces of a batch, keeping nothing but ``x`` for the backward pass.

    Peak memory is that of one piece, which the backward pass computes again. Both passes run with
    autocast off.

    Args:
        function: maps (n, ...) to a tensor whose shape does not depend on n, and is a sum over the
            n samples.
        x: (batch, ...), floating.

    Returns:
        ``function(x)``, up to the order of summation; differentiable once.
    """
    total: Tensor = _BatchSum.apply(function, x)
    return total


def _pieces(x: Tensor) -> tuple[Tensor, ...]:
    elements = CHUNK_ELEMENTS * (1 if x.device.type == "cpu" else _ACCELERATOR_CHUNKS)
    samples = max(1, elements // max(1, x[0].numel()))
    return torch.split(x, samples)


class _BatchSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(x)
        with torch.autocast(x.device.type, enabled=False):
            first, *others = _pieces(x)
            total = function(first)
            for piece in others:
                total += function(piece)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (x,) = ctx.saved_tensors
        gradients = torch.empty_like(x)
        for piece, target in zip(_pieces(x), _pieces(gradients), strict=True):
            with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
                leaf = piece.detach().requires_grad_()
                value = ctx.function(leaf)
                target.copy_(torch.autograd.grad(value, leaf, gradient)[0])
        return None, gradients
