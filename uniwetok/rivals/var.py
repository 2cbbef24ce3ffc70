"""VAR, next-scale prediction (Tian et al. 2024), code FoundationVision/VAR."""

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
from uniwetok.vqgan.codebooks import SCALES, Scales
from uniwetok.weights import numbered

_EPS = 1e-6
_LARGEST = 100.0
"""Bound of the learnt factor of queries."""


@dataclass(frozen=True)
class VARConfig:
    """Sizes of a VAR."""

    width: int
    layers: int
    heads: int
    hidden: int
    """Of the feed-forward layers."""
    channels: int
    """Of an entry of the codebook."""
    codes: int
    """Size of the codebook."""
    classes: int
    sides: tuple[int, ...]
    """Of the maps, from the smallest."""

    @classmethod
    def of(cls, found: Shapes, path: Path) -> VARConfig:
        """Read all sizes off the weights.

        Raises:
            CheckpointError: these are other weights.
        """
        try:
            codes, width = found["head.weight"]
            tokens = found["pos_1LC"][1]
            (sides,) = (each for each in SCALES.values() if _squares(each) == tokens)
            return cls(
                width=width,
                layers=numbered(found, "blocks.{}.ada_lin.1.weight", least=1),
                heads=found["blocks.0.attn.scale_mul_1H11"][1],
                hidden=found["blocks.0.ffn.fc1.weight"][0],
                channels=found["word_embed.weight"][1],
                codes=codes,
                classes=found["class_emb.weight"][0] - 1,
                sides=sides,
            )
        except (KeyError, ValueError, IndexError) as error:
            raise CheckpointError(
                f"{path}: holds no VAR of 256 pixels: {error} is not among its {len(found)} weights"
            ) from error

    @property
    def tokens(self) -> int:
        """Of an image, in all maps."""
        return _squares(self.sides)

    @property
    def side(self) -> int:
        """Tokens of an image's side."""
        return self.sides[-1]

    @property
    def published(self) -> Mapping[str, float]:
        """That of all sizes, by the code's README; so are the 900 likeliest codes, and 96%."""
        return {"cfg": 1.5}

    def steps(self, cfg: float, top_k: int, top_p: float) -> list[Step]:
        """Maps whose guidance grows linearly, from 1 to 1 + cfg."""
        last = len(self.sides) - 1
        return [
            Step(1 + cfg * number / last, top_k=top_k, top_p=top_p) for number in range(last + 1)
        ]

    def build(self) -> VAR:
        """Make a network of these sizes, its weights not yet given."""
        return VAR(self)


def _squares(sides: tuple[int, ...]) -> int:
    return sum(side**2 for side in sides)


class _Attention(nn.Module):
    """Self-attention by cosines of queries and keys, with a learnt factor for each head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.scale_mul_1H11 = nn.Parameter(torch.empty(1, heads, 1, 1))
        self.mat_qkv = Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.empty(width))
        self.v_bias = nn.Parameter(torch.empty(width))
        self.proj = Linear(width, width)

    def forward(self, x: Tensor, cache: KeyValueCache, layer: int) -> Tensor:
        """Attend from new tokens (rows, new, width) to each other and all before."""
        heads = self.scale_mul_1H11.shape[1]
        query, key, value = self.mat_qkv(x).chunk(3, dim=-1)
        query, key, value = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in (query + self.q_bias, key, value + self.v_bias)
        )
        factor = self.scale_mul_1H11.clamp(max=math.log(_LARGEST)).exp()
        key, value = cache.extend(layer, F.normalize(key, dim=-1), value)
        attended = F.scaled_dot_product_attention(
            F.normalize(query, dim=-1) * factor, key, value, scale=1.0
        )
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class _FFN(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class _Modulated(nn.Module):
    """Gives what scales, shifts and gates norms, of the class."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), Linear(width, parts * width))
        self.parts = parts

    def modulation(self, of_class: Tensor) -> tuple[Tensor, ...]:
        """Map (rows, width) to (rows, 1, width) each."""
        given: Tensor = self.ada_lin(of_class)
        return given.unsqueeze(1).chunk(self.parts, dim=-1)

    def norm(self, x: Tensor) -> Tensor:
        """Normalise the last axis, without weights."""
        return F.layer_norm(x, x.shape[-1:], eps=_EPS)


class _Block(_Modulated):
    def __init__(self, config: VARConfig) -> None:
        super().__init__(config.width, 6)
        self.attn = _Attention(config.width, config.heads)
        self.ffn = _FFN(config.width, config.hidden)

    def forward(self, x: Tensor, of_class: Tensor, cache: KeyValueCache, layer: int) -> Tensor:
        gate, ffn_gate, scale, ffn_scale, shift, ffn_shift = self.modulation(of_class)
        x = x + gate * self.attn(self.norm(x) * (1 + scale) + shift, cache, layer)
        out: Tensor = x + ffn_gate * self.ffn(self.norm(x) * (1 + ffn_scale) + ffn_shift)
        return out


class _HeadNorm(_Modulated):
    def __init__(self, width: int) -> None:
        super().__init__(width, 2)

    def forward(self, x: Tensor, of_class: Tensor) -> Tensor:
        scale, shift = self.modulation(of_class)
        return self.norm(x) * (1 + scale) + shift


class VAR(nn.Module):
    """The class, then maps of ever more tokens, those of a map predicted at once."""

    def __init__(self, config: VARConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.word_embed = Linear(config.channels, width)
        self.class_emb = nn.Embedding(config.classes + 1, width)
        self.pos_start = nn.Parameter(torch.empty(1, 1, width))
        self.pos_1LC = nn.Parameter(torch.empty(1, config.tokens, width))
        self.lvl_embed = nn.Embedding(len(config.sides), width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.head_nm = _HeadNorm(width)
        self.head = Linear(width, config.codes)

    def logits(self, x: Tensor, of_class: Tensor, cache: KeyValueCache) -> Tensor:
        """Give logits of a map.

        Args:
            x: (rows, tokens, width), what is known of it.
            of_class: (rows, width).
            cache: holds the maps before, and takes this one.

        Returns:
            (rows, tokens, codes).
        """
        places = slice(cache.filled, cache.filled + x.shape[1])
        level = [_squares(self.config.sides[:n]) for n in range(len(self.config.sides))].index(
            cache.filled
        )
        x = x + self.pos_1LC[:, places] + self.lvl_embed.weight[level]
        for layer, block in enumerate(self.blocks):
            x = block(x, of_class, cache, layer)
        cache.filled = places.stop
        logits: Tensor = self.head(self.head_nm(x, of_class))
        return logits


@dataclass(frozen=True)
class Pyramid:
    """A VAR with the codebook by which a map tells of the next one; see `NextTokens`."""

    network: VAR
    quantize: Scales

    @property
    def classes(self) -> int:
        """See `NextTokens`."""
        return self.network.config.classes

    @property
    def tokens(self) -> int:
        """See `NextTokens`."""
        return self.network.config.tokens

    def start(self, labels: Tensor) -> tuple[Tensor, Advance]:
        """See `NextTokens`."""
        network, sides = self.network, self.network.config.sides
        cache = KeyValueCache(network.config, len(labels), self.tokens, network.pos_1LC)
        of_class = network.class_emb(labels)
        maps: list[Tensor] = []

        def advance(drawn: Tensor) -> Tensor:
            # The image so far, seen at the size of the map to come.
            maps.append(self.quantize.enlarged(_square(drawn), len(maps), sides))
            side = sides[len(maps)]
            seen = F.interpolate(torch.stack(maps).sum(0), size=(side, side), mode="area")
            x = network.word_embed(seen.flatten(2).mT.to(of_class.dtype))
            return network.logits(x, of_class, cache)

        return network.logits(of_class.unsqueeze(1) + network.pos_start, of_class, cache), advance


def _square(codes: Tensor) -> Tensor:
    side = math.isqrt(codes.shape[1])
    return codes.view(len(codes), side, side)
