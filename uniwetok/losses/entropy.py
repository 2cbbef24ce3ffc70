"""Group-wise entropy losses of the binary latents, without ever listing the codes of a token.

The released quantizer scores the 2^d codes c of a group by softmax(2 x.c / temperature). The scores
add up over the bits, so the softmax is a product of independent bits, each set with probability
sigmoid(4 x_j / temperature). The entropy of the group is therefore the sum of the entropies of its
bits, exactly, in O(d) instead of O(2^d). The mean distribution over a batch does not factorise; it
is summed as outer products of the distributions of the lower and the upper half of the bits.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses.config import CodebookScope, EntropyConfig, TokenReduction
from uniwetok.losses.numerics import batch_sum, full_precision

_LOG_EPSILON = 1e-5
"""Added inside the logarithm of the codebook entropy (released code)."""
_MAX_BITS = 16


@dataclass(frozen=True)
class EntropyTerms:
    """Entropies in nats, each a scalar with gradients."""

    token: Tensor
    """Mean entropy of the codes of a token's group; low where every bit is decided."""
    codebook: Tensor
    """Entropy of the mean distribution; high where all codes are used alike."""
    auxiliary: Tensor
    """Their weighted difference, which is minimised."""


def entropy_loss(latents: Tensor, groups: int, config: EntropyConfig) -> EntropyTerms:
    """Compute token entropy, codebook entropy and their difference as released.

    Args:
        latents: (batch, channels, ...) floating, before the sign; channels g*d .. g*d+d-1 are
            group g, least significant bit first. Computed in float32, or in float64 if given.
        groups: number of groups; divides the channels.
        config: temperature, weights and open choices.

    Raises:
        ValueError: the shape does not fit the groups, or a group has more than 16 bits.
    """
    # Once for both terms, so that their gradients are also added up in full precision.
    latents = full_precision(latents)
    token = token_entropy(latents, groups, config.temperature, config.token_reduction)
    codebook = codebook_entropy(
        latents,
        groups,
        config.temperature,
        config.codebook_scope,
        reduce_across_processes=config.reduce_across_processes,
    )
    auxiliary = config.token_weight * token - config.codebook_weight * codebook
    return EntropyTerms(token, codebook, auxiliary)


def token_entropy(
    latents: Tensor, groups: int, temperature: float = 0.01, reduction: TokenReduction = "mean"
) -> Tensor:
    """Compute the mean entropy of the groups of a token.

    Args:
        latents: as for ``entropy_loss``; groups may have any number of bits.
        groups: number of groups; divides the channels.
        temperature: of the softmax over codes.
        reduction: whether a token's groups are averaged (released) or summed (paper, Eq. 3).

    Returns:
        Scalar in nats, 0 .. d ln 2, or ``groups`` times that where they are summed.

    Raises:
        ValueError: the shape does not fit the groups.
    """
    _check(latents, groups)
    scale = 4 / temperature
    total = batch_sum(functools.partial(_bit_entropies, scale=scale), full_precision(latents))
    tokens = latents.numel() // latents.shape[1]
    return total / (tokens * groups if reduction == "mean" else tokens)


def codebook_entropy(
    latents: Tensor,
    groups: int,
    temperature: float = 0.01,
    scope: CodebookScope = "pooled",
    *,
    reduce_across_processes: bool = False,
) -> Tensor:
    """Compute the entropy of the mean distribution over the 2^d codes of a group.

    Args:
        latents: as for ``entropy_loss``.
        groups: number of groups; divides the channels.
        temperature: of the softmax over codes.
        scope: one distribution that all groups share (released), or the mean of the entropies of
            each group's own.
        reduce_across_processes: take the mean over the batches of all processes, weighted by their
            tokens, where a process group is initialised. All processes then have the same value.
            After DistributedDataParallel has averaged the gradients over the processes, they are
            those of one process with the whole batch.

    Returns:
        Scalar in nats, 0 .. d ln 2.

    Raises:
        ValueError: the shape does not fit the groups, or a group has more than 16 bits.
    """
    _check(latents, groups)
    bits = latents.shape[1] // groups
    if bits > _MAX_BITS:
        raise ValueError(
            f"{groups} groups of {bits} bits: the codebook entropy keeps 2^bits probabilities, "
            f"of at most {_MAX_BITS} bits; use more groups"
        )
    scale = 4 / temperature
    code_sums = functools.partial(_code_sums, groups=groups, scale=scale)
    sums = batch_sum(code_sums, full_precision(latents))
    tokens = sums.new_tensor([latents.numel() // latents.shape[1]])
    if reduce_across_processes and dist.is_available() and dist.is_initialized():
        reduced: Tensor = _SumOverProcesses.apply(torch.cat([sums.flatten(), tokens]))
        sums, tokens = reduced[:-1].view_as(sums), reduced[-1:]
    # Entropy of the mean, not the mean of entropies: it is high where all codes are used alike,
    # however surely each token chooses its own.
    means = sums / tokens
    if scope == "pooled":
        means = means.mean(0, keepdim=True)
    return -(means * (means + _LOG_EPSILON).log()).sum(-1).mean()


def _check(latents: Tensor, groups: int) -> None:
    if latents.ndim < 3 or not latents.numel() or not latents.is_floating_point():
        raise ValueError(
            f"latents must be floating (batch, channels, positions...), got {latents.dtype} "
            f"{tuple(latents.shape)}"
        )
    if groups < 1 or latents.shape[1] % groups:
        raise ValueError(f"groups={groups} does not divide the {latents.shape[1]} channels")


def _bit_entropies(latents: Tensor, scale: float) -> Tensor:
    """Sum the entropies of Bernoulli variables with logits ``scale * latents``."""
    # H = softplus(-|l|) + |l| sigmoid(-|l|): of the same sign everywhere, no cancelling, and no
    # log(0) where a bit is as good as decided.
    logits = (latents * scale).abs()
    return (F.softplus(-logits) + logits * torch.sigmoid(-logits)).sum()


def _code_sums(latents: Tensor, groups: int, scale: float) -> Tensor:
    """Sum each group's distribution over samples and positions: (groups, 2^d), rows adding to n."""
    batch, channels = latents.shape[:2]
    logits = latents.reshape(batch, groups, channels // groups, -1) * scale
    logits = logits.permute(1, 2, 0, 3).flatten(2)
    # Bits are independent given a token, so a code's probability is a product of two halves'; the
    # sum over tokens of outer products is one matrix product, 2^d entries from 2^(d/2) each.
    half = logits.shape[1] // 2
    lower, upper = _joint(logits[:, :half]), _joint(logits[:, half:])
    return (upper @ lower.mT).flatten(1)


def _joint(logits: Tensor) -> Tensor:
    """Map logits of independent bits (g, d, n) to the probabilities (g, 2^d, n) of their codes."""
    joint = logits.new_ones(logits.shape[0], 1, logits.shape[2])
    for bit in logits.unbind(1):
        bit = bit.unsqueeze(1)
        joint = torch.cat([joint * torch.sigmoid(-bit), joint * torch.sigmoid(bit)], dim=1)
    return joint


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose backward pass sums the gradients of all processes.

    ``torch.distributed.nn.functional.all_reduce`` does the same but is deprecated.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        total = gradient.clone()
        dist.all_reduce(total)
        return total
