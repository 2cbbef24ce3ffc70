"""LlamaGen's class-to-image transformer (Sun et al. 2024), code FoundationVision/LlamaGen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.ar.layers import Linear
from uniwetok.ar.transformer import KeyValueCache
from uniwetok.rivals.sampling import Advance
from uniwetok.tokenizer import layers
from uniwetok.tokenizer.rope import rotary_table
from uniwetok.weights import CheckpointError, Shapes, numbered

_EPS = 1e-5
_HEAD_DIM = 64


class Published(NamedTuple):
    """A released size."""

    heads: int
    cfg: float
    """Guidance of its published FID, by GETTING_STARTED.md of the code."""


PUBLISHED = {
    (768, 12): Published(12, 2.0),
    (1024, 24): Published(16, 2.0),
    (1280, 36): Published(20, 1.75),
    (1536, 48): Published(24, 1.75),
    (3200, 24): Published(32, 1.65),
}
"""B, L, XL, XXL and 3B, by width and layers."""


@dataclass(frozen=True)
class LlamaGenConfig:
    """Sizes of a LlamaGen."""

    width: int
    layers: int
    heads: int
    codes: int
    """Size of the codebook."""
    classes: int
    grid: int
    """Tokens of a side."""

    @classmethod
    def of(cls, found: Shapes, path: Path, grid: int) -> LlamaGenConfig:
        """Read the sizes off the weights; the grid leaves no trace in them.

        Heads of sizes that were not released are of 64 channels.

        Raises:
            CheckpointError: these are other weights.
        """
        try:
            (codes, width), (rows, _) = (
                found[f"{name}.weight"]
                for name in ("tok_embeddings", "cls_embedding.embedding_table")
            )
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path}: holds no class-to-image LlamaGen: {error} is not among its "
                f"{len(found)} weights"
            ) from error
        depth = numbered(found, "layers.{}.attention.wqkv.weight")
        released = PUBLISHED.get((width, depth))
        heads = released.heads if released else max(1, width // _HEAD_DIM)
        return cls(width, depth, heads, codes, rows - 1, grid)

    @property
    def tokens(self) -> int:
        """Of an image."""
        return self.grid**2

    @property
    def published(self) -> Published | None:
        """How the released model of this size is sampled, where there is one."""
        return PUBLISHED.get((self.width, self.layers))

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


class _Block(layers.TransformerBlock):
    """BitDance's block with another epsilon and another layout of the feed-forward layers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, Linear)
        self.feed_forward = _FeedForward(width, self.feed_forward.w2.in_features)
        self.attention_norm = nn.RMSNorm(width, eps=_EPS)
        self.ffn_norm = nn.RMSNorm(width, eps=_EPS)


class _LabelEmbedder(nn.Module):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(rows, width)


class LlamaGen(nn.Module):
    """A class token, then the image's tokens in raster order; see `NextTokens`."""

    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__()
        self.config = config
        self.classes, self.tokens = config.classes, config.tokens
        self.cls_embedding = _LabelEmbedder(config.classes + 1, config.width)
        self.tok_embeddings = nn.Embedding(config.codes, config.width)
        self.layers = nn.ModuleList(
            _Block(config.width, config.heads) for _ in range(config.layers)
        )
        self.norm = nn.RMSNorm(config.width, eps=_EPS)
        self.output = Linear(config.width, config.codes, bias=False)

    def start(self, labels: Tensor) -> tuple[Tensor, Advance]:
        """See `NextTokens`."""
        cache = KeyValueCache(self.config, len(labels), self.tokens, self.norm.weight)
        table = self._rotary_table()

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

    def _rotary_table(self) -> Tensor:
        """Cosine and sine of every position's angles, (1 + tokens, head_dim // 2, 2) float32."""
        weight, config = self.norm.weight, self.config
        table = rotary_table(
            # From 0, for the table counts image tokens from 1.
            lambda side, dtype, device: torch.arange(side, dtype=dtype, device=device) - 1,
            (config.grid, config.grid),
            config.width // config.heads,
            0,
            dtype=torch.float64 if weight.dtype == torch.float64 else torch.float32,
            device=weight.device,
        )
        # Rows rotate the first half of the channels here, columns the second.
        table = table.view(config.grid, config.grid, -1, 2).transpose(0, 1).flatten(0, 1)
        # Zeros, as released, not the identity's cosine of 1: query and key of the class are zero,
        # so that every token gives it a score of 0.
        return torch.cat([torch.zeros_like(table[:1]), table])
