"""LlamaGen's class-to-image transformer (Sun et al. 2024), code FoundationVision/LlamaGen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.ar.layers import Linear
from uniwetok.ar.transformer import KeyValueCache
from uniwetok.rivals.sampling import Advance, Step
from uniwetok.tensors import CheckpointError, Shapes
from uniwetok.tokenizer import layers
from uniwetok.tokenizer.rope import rotary_table
from uniwetok.weights import numbered

_EPS = 1e-5
_HEAD_DIM = 64
_RELEASED = {
    (768, 12): (12, 2.0),
    (1024, 24): (16, 2.0),
    (1280, 36): (20, 1.75),
    (1536, 48): (24, 1.75),
    (3200, 24): (32, 1.65),
}
"""Heads, and guidance by GETTING_STARTED.md, of B, L, XL, XXL and 3B by width and layers."""


@dataclass(frozen=True)
class LlamaGenConfig:
    """Sizes of a LlamaGen."""

    width: int
    layers: int
    heads: int
    codes: int
    """Size of the codebook."""
    classes: int
    side: int
    """Tokens of an image's side."""

    @classmethod
    def of(cls, found: Shapes, path: Path, side: int) -> LlamaGenConfig:
        """Read the sizes off the weights; the side leaves no trace in them.

        Heads of sizes that were not released are of 64 channels.

        Raises:
            CheckpointError: these are other weights.
        """
        try:
            (codes, width), (rows, _) = (
                found[f"{name}.weight"]
                for name in ("tok_embeddings", "cls_embedding.embedding_table")
            )
            depth = numbered(found, "layers.{}.attention.wqkv.weight", least=1)
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path}: holds no class-to-image LlamaGen: {error} is not among its "
                f"{len(found)} weights"
            ) from error
        heads, _ = _RELEASED.get((width, depth), (max(1, width // _HEAD_DIM), 0))
        return cls(width, depth, heads, codes, rows - 1, side)

    @property
    def tokens(self) -> int:
        """Of an image."""
        return self.side**2

    @property
    def published(self) -> Mapping[str, float]:
        """See `Sizes`."""
        released = _RELEASED.get((self.width, self.layers))
        return {"cfg": released[1]} if released else {}

    def steps(self, cfg: float, temperature: float, top_k: int, top_p: float) -> list[Step]:
        """All alike."""
        return [Step(cfg, temperature, top_k, top_p)] * self.tokens

    def build(self) -> LlamaGen:
        """Make a network of these sizes, its weights not yet given."""
        return LlamaGen(self)


class _FeedForward(layers.SwiGLU):
    """SwiGLU whose gate and value are layers of their own."""

    def __init__(self, width: int, hidden: int) -> None:
        nn.Module.__init__(self)
        self.w1 = Linear(width, hidden, bias=False)
        self.w3 = Linear(width, hidden, bias=False)
        self.w2 = Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to (..., width)."""
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class Block(layers.TransformerBlock):
    """BitDance's block with another epsilon and another layout of the feed-forward layers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, Linear)
        self.feed_forward = _FeedForward(width, self.feed_forward.w2.in_features)
        self.attention_norm = nn.RMSNorm(width, eps=_EPS)
        self.ffn_norm = nn.RMSNorm(width, eps=_EPS)


class LabelEmbedder(nn.Module):
    """Vectors of the classes, and of the null class after them."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(rows, width)


class LlamaGen(nn.Module):
    """A class token, then the image's tokens in raster order; see `NextTokens`."""

    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__()
        self.config = config
        self.classes, self.tokens = config.classes, config.tokens
        self.cls_embedding = LabelEmbedder(config.classes + 1, config.width)
        self.tok_embeddings = nn.Embedding(config.codes, config.width)
        self.layers = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=_EPS)
        self.output = Linear(config.width, config.codes, bias=False)

    def start(self, labels: Tensor) -> tuple[Tensor, Advance]:
        """See `NextTokens`."""
        cache = KeyValueCache(self.config, len(labels), self.tokens, self.norm.weight)
        table = positions(
            self.config.side, self.config.width // self.config.heads, self.norm.weight
        )

        def advance(drawn: Tensor) -> Tensor:
            return self._next(self.tok_embeddings(drawn), table, cache)

        of_class = self.cls_embedding.embedding_table(labels).unsqueeze(1)
        return self._next(of_class, table, cache), advance

    def _next(self, x: Tensor, table: Tensor, cache: KeyValueCache) -> Tensor:
        """Give logits (rows, 1, codes) after one more token (rows, 1, width)."""
        place = table[cache.filled : cache.filled + 1]
        for layer, block in enumerate(self.layers):
            x = block(x, place, None, cache, layer)
        cache.filled += 1
        logits: Tensor = self.output(self.norm(x))
        return logits


def positions(side: int, head_dim: int, like: Tensor) -> Tensor:
    """Cosine and sine of every position's angles, the class's first.

    Args:
        side: tokens of an image's side.
        head_dim: channels of a head.
        like: on the device to use; of float64 where the table is to be.

    Returns:
        (1 + side^2, head_dim // 2, 2), float32 unless ``like`` is float64.
    """
    table = rotary_table(
        # From 0, for the table counts image tokens from 1.
        lambda length, dtype, device: torch.arange(length, dtype=dtype, device=device) - 1,
        (side, side),
        head_dim,
        0,
        dtype=torch.promote_types(like.dtype, torch.float32),
        device=like.device,
    )
    # Rows rotate the first half of the channels here, columns the second.
    table = table.view(side, side, -1, 2).transpose(0, 1).flatten(0, 1)
    # Zeros, as released, not the identity's cosine of 1: query and key of the class are zero, so
    # that every token gives it a score of 0.
    return torch.cat([torch.zeros_like(table[:1]), table])
