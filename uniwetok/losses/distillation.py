"""Pre-Post Distillation: pooled latents and pooled codes point where the teacher's embedding does.

Fixed here, though the paper leaves it open: the teacher sees the very crop that is encoded, and its
embedding is normalised, so that a pooled token can be compared with the teacher's texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses.config import DistillationConfig
from uniwetok.losses.numerics import full_precision

_NORM_EPSILON = 1e-6


class LinearHead(nn.Module):
    """Mean over tokens, then a linear map to the teacher's width."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, width)

    def forward(self, latents: Tensor) -> Tensor:
        """Pool (batch, channels, h, w) to (batch, width)."""
        pooled: Tensor = self.projection(latents.flatten(2).mean(-1))
        return pooled


class AttentionHead(nn.Module):
    """Attention pooling with one learned query, in the manner of SigLIP's own pooling head.

    Tokens are normalised and projected to the teacher's width; the query attends over them; a
    residual MLP follows.
    """

    def __init__(self, channels: int, width: int, heads: int = 16, mlp_ratio: int = 4) -> None:
        """Initialise the query from N(0, 1 / width), all else by PyTorch's defaults.

        Raises:
            ValueError: the heads do not divide the width.
        """
        super().__init__()
        if width % heads:
            raise ValueError(
                f"attention_heads={heads} does not divide the teacher's width {width}; choose a "
                f"divisor of it"
            )
        self.norm = nn.LayerNorm(channels, eps=_NORM_EPSILON)
        self.projection = nn.Linear(channels, width)
        self.query = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width, eps=_NORM_EPSILON),
            nn.Linear(width, mlp_ratio * width),
            nn.GELU(),
            nn.Linear(mlp_ratio * width, width),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Pool (batch, channels, h, w) to (batch, width)."""
        tokens = self.projection(self.norm(latents.flatten(2).mT))
        query = self.query.expand(len(tokens), -1, -1)
        attended = self.attention(query, tokens, tokens, need_weights=False)[0].squeeze(1)
        pooled: Tensor = attended + self.mlp(attended)
        return pooled


def cosine_loss(pooled: Tensor, target: Tensor) -> Tensor:
    """One minus the cosine similarity, averaged over the batch (paper, Eq. 4 and 5).

    Args:
        pooled: (batch, width).
        target: (batch, width) embeddings of the teacher; receive no gradient.

    Returns:
        Scalar in [0, 2].
    """
    pooled = full_precision(pooled)
    return 1 - F.cosine_similarity(pooled, target.detach().to(pooled.dtype), dim=-1).mean()


@dataclass(frozen=True)
class DistillationTerms:
    """Parts of the distillation loss; scalars in [0, 2] with gradients."""

    pre: Tensor | None
    """Cosine loss of the latents; None where it is switched off."""
    post: Tensor | None
    """Cosine loss of the codes; None where it is switched off."""
    total: Tensor
    """pre + eta * post (paper, Eq. 6)."""


class PrePostDistillation(nn.Module):
    """Pre-Post Distillation with separate heads, since Eq. 4 and 5 name two pools.

    Attributes:
        config: terms, weights and the kind of heads.
        channels: bits of a token.
        width: the teacher's.
        pre: head of the latents, or None.
        post: head of the codes, or None.
    """

    def __init__(self, config: DistillationConfig, channels: int, width: int) -> None:
        """Build the heads that the configuration asks for.

        Args:
            config: terms, weights and the kind of heads.
            channels: bits of a token.
            width: the teacher's.

        Raises:
            ValueError: attention heads do not divide the width.
        """
        super().__init__()
        self.config = config
        self.channels = channels
        self.width = width
        self.pre = self._head(channels, width) if config.pre else None
        self.post = self._head(channels, width) if config.post else None

    def _head(self, channels: int, width: int) -> LinearHead | AttentionHead:
        if self.config.head == "linear":
            return LinearHead(channels, width)
        return AttentionHead(channels, width, self.config.attention_heads, self.config.mlp_ratio)

    def forward(self, latents: Tensor, codes: Tensor, target: Tensor) -> DistillationTerms:
        """Compare both pooled sides with the teacher.

        Args:
            latents: (batch, channels, h, w), the encoder's output, before the sign.
            codes: +1 or -1, of the same shape, with straight-through gradients.
            target: (batch, width) embeddings of the same images.

        Raises:
            ValueError: the teacher's width or batch is another.
        """
        pre = post = None
        total = latents.new_zeros((), dtype=torch.float32)
        if self.pre is not None:
            pre = _align(self.pre(latents), target)
            total = total + pre
        if self.post is not None:
            post = _align(self.post(codes), target)
            total = total + self.config.post_weight * post
        return DistillationTerms(pre, post, total)


def _align(pooled: Tensor, target: Tensor) -> Tensor:
    if pooled.shape != target.shape:
        raise ValueError(
            f"the teacher's embeddings are {tuple(target.shape)}, the heads give "
            f"{tuple(pooled.shape)}; build the heads with the teacher's width and embed the batch "
            f"that was encoded"
        )
    return cosine_loss(pooled, target)
