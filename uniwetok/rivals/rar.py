"""RAR, randomized autoregressive generation (Yu et al. 2024), code bytedance/1d-tokenizer."""

from __future__ import annotations

import math
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
from uniwetok.weights import numbered

_EPS = 1e-6
_PREFIX = 2
"""A token for the whole image, then the class."""
_SPARE = 1024
"""Positions that the released weights have beyond an image's."""
_SPARE_STEPS = 100
_RELEASED = {
    (768, 24): {"cfg": 16.0, "power": 2.75, "temperature": 1.0},
    (1024, 24): {"cfg": 15.5, "power": 2.5, "temperature": 1.02},
    (1280, 32): {"cfg": 6.9, "power": 1.5, "temperature": 1.02},
    (1408, 40): {"cfg": 8.0, "power": 1.2, "temperature": 1.02},
}
"""Sampling of B, L, XL and XXL, by width and layers, by README_RAR.md of the code."""


@dataclass(frozen=True)
class RARConfig:
    """Sizes of a RAR."""

    width: int
    layers: int
    heads: int
    hidden: int
    """Of the feed-forward layers."""
    codes: int
    """Size of the codebook."""
    classes: int
    tokens: int
    """Of an image."""

    @classmethod
    def of(cls, found: Shapes, path: Path) -> RARConfig:
        """Read all sizes off the weights.

        Raises:
            CheckpointError: these are other weights.
        """
        try:
            codes, width = found["lm_head.weight"]
            sizes = cls(
                width=width,
                layers=numbered(found, "blocks.{}.attn.qkv.weight", least=1),
                heads=width // found["blocks.0.attn.q_norm.weight"][0],
                hidden=found["blocks.0.mlp.fc1.weight"][0],
                codes=codes,
                # The codebook, the mask, the classes and the null class share one table.
                classes=found["embeddings.weight"][0] - codes - 2,
                tokens=found["target_aware_pos_embed"][1] - _SPARE,
            )
        except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
            raise CheckpointError(
                f"{path}: holds no RAR: {error} is not among its {len(found)} weights"
            ) from error
        if sizes.tokens < 1 or sizes.side**2 != sizes.tokens:
            raise CheckpointError(
                f"{path}: holds no RAR of square images: its target_aware_pos_embed is of "
                f"{sizes.tokens} tokens"
            )
        return sizes

    @property
    def side(self) -> int:
        """Tokens of an image's side."""
        return math.isqrt(self.tokens)

    @property
    def published(self) -> Mapping[str, float]:
        """See `Sizes`."""
        return _RELEASED.get((self.width, self.layers), {})

    def steps(self, cfg: float, power: float, temperature: float) -> list[Step]:
        """Steps whose guidance rises from 1 towards cfg, by the power-cosine schedule.

        It has gone (1 - cos(pi x^power)) / 2 of the way at the share x of the tokens; at power 0 it
        is cfg throughout.
        """
        shares = ((step / self.tokens) ** power for step in range(self.tokens))
        weights = (1 + (cfg - 1) * (1 - math.cos(math.pi * share)) / 2 for share in shares)
        return [Step(weight, temperature) for weight in weights]

    def build(self) -> RAR:
        """Make a network of these sizes, its weights not yet given."""
        return RAR(self)


class _Attention(nn.Module):
    """Self-attention with normalised queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads, eps=_EPS)
        self.k_norm = nn.LayerNorm(width // heads, eps=_EPS)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor, cache: KeyValueCache, layer: int) -> Tensor:
        """Attend from new tokens (rows, new, width) to themselves and all before."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)
        query, key, value = qkv.unbind(2)
        key, value = cache.extend(layer, self.k_norm(key), value)
        # Only the prefix is more than one token, and then the cache holds nothing else.
        attended = F.scaled_dot_product_attention(
            self.q_norm(query), key, value, is_causal=x.shape[1] > 1
        )
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


def _modulation(width: int, parts: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), Linear(width, parts * width))


class _Block(nn.Module):
    """Transformer block whose norms are scaled, shifted and gated by a condition."""

    def __init__(self, config: RARConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=_EPS)
        self.attn = _Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, eps=_EPS)
        self.mlp = _MLP(config.width, config.hidden)
        self.adaLN_modulation = _modulation(config.width, 6)

    def forward(self, x: Tensor, condition: Tensor, cache: KeyValueCache, layer: int) -> Tensor:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.adaLN_modulation(condition).chunk(
            6, dim=-1
        )
        x = x + gate * self.attn(self.norm1(x) * (1 + scale) + shift, cache, layer)
        out: Tensor = x + mlp_gate * self.mlp(self.norm2(x) * (1 + mlp_scale) + mlp_shift)
        return out


class _FinalNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=_EPS, elementwise_affine=False)
        self.adaLN_modulation = _modulation(width, 2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.adaLN_modulation(condition).chunk(2, dim=-1)
        out: Tensor = self.norm_final(x) * (1 + scale) + shift
        return out


class RAR(nn.Module):
    """A token for the whole image, the class, and the image's tokens; see `NextTokens`.

    Trained on random orders that ended in raster order, which is drawn in: each token is told the
    place of the one it predicts. The class conditions every layer too.
    """

    def __init__(self, config: RARConfig) -> None:
        super().__init__()
        self.config = config
        self.classes, self.tokens = config.classes, config.tokens
        width, places = config.width, config.tokens + _SPARE
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.embeddings = nn.Embedding(config.codes + 1 + config.classes + 1, width)
        self.pos_embed = nn.Parameter(torch.empty(1, places, width))
        self.target_aware_pos_embed = nn.Parameter(torch.empty(1, places, width))
        self.timesteps_embeddings = nn.Parameter(
            torch.empty(1, config.tokens + _SPARE_STEPS, width)
        )
        self.adaln_before_head = _FinalNorm(width)
        self.lm_head = Linear(width, config.codes)

    def start(self, labels: Tensor) -> tuple[Tensor, Advance]:
        """See `NextTokens`."""
        length = _PREFIX + self.tokens - 1
        cache = KeyValueCache(self.config, len(labels), length, self.pos_embed)
        # Behind the codes and the mask.
        of_class = self.embeddings(labels + self.config.codes + 1).unsqueeze(1)

        def advance(drawn: Tensor) -> Tensor:
            return self._next(self.embeddings(drawn), of_class, cache)

        prefix = torch.cat([self.cls_token.expand(len(labels), -1, -1), of_class], dim=1)
        return self._next(prefix, of_class, cache), advance

    def _next(self, x: Tensor, of_class: Tensor, cache: KeyValueCache) -> Tensor:
        """Give logits (rows, 1, codes) after new tokens (rows, new, width)."""
        places = slice(cache.filled, cache.filled + x.shape[1])
        x = x + self.pos_embed[:, places]
        # The place of what is predicted, which only the last token does.
        x[:, -1] += self.target_aware_pos_embed[:, places.stop]
        condition = of_class + self.timesteps_embeddings[:, places]
        for layer, block in enumerate(self.blocks):
            x = block(x, condition, cache, layer)
        cache.filled = places.stop
        logits: Tensor = self.lm_head(self.adaln_before_head(x[:, -1:], condition[:, -1:]))
        return logits
