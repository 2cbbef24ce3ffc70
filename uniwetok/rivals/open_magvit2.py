"""Open-MAGVIT2's class-to-image transformer (Luo et al. 2024), code TencentARC/SEED-Voken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from uniwetok.ar.layers import Linear
from uniwetok.ar.transformer import KeyValueCache
from uniwetok.rivals.llamagen import Block, LabelEmbedder, positions
from uniwetok.rivals.sampling import Advance, Step
from uniwetok.tensors import CheckpointError, Shapes
from uniwetok.weights import numbered

_EPS = 1e-5
_HEAD_DIM = 64
_RELEASED = {
    (1024, 24): {"cfg": 1.9, "cfg_post": 2.0, "temperature": 1.0, "temperature_post": 1.0},
    (1280, 36): {"cfg": 1.9, "cfg_post": 1.9, "temperature": 1.1, "temperature_post": 1.0},
    (1536, 48): {"cfg": 1.75, "cfg_post": 1.85, "temperature": 1.1, "temperature_post": 1.0},
}
"""Sampling of B, L and XL, by width and layers, by scripts/evaluation/sample_gpu.sh of the code."""


@dataclass(frozen=True)
class OpenMAGVIT2Config:
    """Sizes of an Open-MAGVIT2."""

    width: int
    layers: int
    """That go from place to place."""
    inner_layers: int
    """That go from the first bits of a code to the others."""
    heads: int
    bits: tuple[int, int]
    """First and other bits of a code."""
    classes: int
    side: int = 16
    """Tokens of an image's side, which leaves no trace in the weights."""

    @classmethod
    def of(cls, found: Shapes, path: Path) -> OpenMAGVIT2Config:
        """Read the sizes off the weights; heads are of 64 channels, as in all released models.

        Raises:
            CheckpointError: these are other weights.
        """
        try:
            first, width = found["transformer.pre_emb.weight"]
            other, _ = found["transformer.post_emb.weight"]
            rows, _ = found["transformer.class_emb.embedding_table.weight"]
            layers, inner_layers = (
                numbered(found, f"transformer.{part}_blocks.{{}}.attention.wqkv.weight", least=1)
                for part in ("spatial", "factorized")
            )
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path}: holds no Open-MAGVIT2 that draws: {error} is not among its {len(found)} "
                f"weights"
            ) from error
        return cls(
            width=width,
            layers=layers,
            inner_layers=inner_layers,
            heads=max(1, width // _HEAD_DIM),
            bits=(first.bit_length() - 1, other.bit_length() - 1),
            classes=rows - 1,
        )

    @property
    def codes(self) -> int:
        """Size of the codebook."""
        return int(2 ** sum(self.bits))

    @property
    def tokens(self) -> int:
        """Of an image."""
        return self.side**2

    @property
    def published(self) -> Mapping[str, float]:
        """See `Sizes`."""
        return _RELEASED.get((self.width, self.layers), {})

    def steps(
        self, cfg: float, cfg_post: float, temperature: float, temperature_post: float
    ) -> list[Step]:
        """For each token one step for the first bits, then one for the others."""
        return [Step(cfg, temperature), Step(cfg_post, temperature_post)] * self.tokens

    def build(self) -> OpenMAGVIT2:
        """Make a network of these sizes, its weights not yet given."""
        return OpenMAGVIT2(self)


@dataclass(frozen=True)
class _Inner:
    """Sizes of the layers within a token."""

    width: int
    layers: int
    heads: int


class OpenMAGVIT2(nn.Module):
    """A class token, then the image's tokens, each drawn in two parts; see `NextTokens`."""

    def __init__(self, config: OpenMAGVIT2Config) -> None:
        super().__init__()
        self.config = config
        self.classes, self.tokens = config.classes, 2 * config.tokens
        self.transformer = _Transformer(config)

    def start(self, labels: Tensor) -> tuple[Tensor, Advance]:
        """See `NextTokens`."""
        config, network = self.config, self.transformer
        rows, like = len(labels), network.norm.weight
        table = positions(config.side, config.width // config.heads, like)
        outer = KeyValueCache(config, rows, config.tokens, like)
        inner = KeyValueCache(
            _Inner(config.width, config.inner_layers, config.heads), rows, 2, like
        )

        def part(x: Tensor) -> Tensor:
            """Logits (rows, 1, codes) of the first bits if x is a place's, else of the others."""
            number = inner.filled
            x = _run(network.factorized_blocks, x, table, inner)
            logits: Tensor = network.head[number](network.norm(x))
            return logits

        def place(x: Tensor) -> Tensor:
            inner.filled = 0
            return part(_run(network.spatial_blocks, x, table, outer))

        first: list[Tensor] = []

        def advance(drawn: Tensor) -> Tensor:
            if not first:
                first.append(network.pre_emb(drawn))
                return part(first[0])
            return place(first.pop() + network.post_emb(drawn))

        return place(network.class_emb.embedding_table(labels).unsqueeze(1)), advance


class _Transformer(nn.Module):
    """What holds the weights, under the name that they have in a checkpoint."""

    def __init__(self, config: OpenMAGVIT2Config) -> None:
        super().__init__()
        width = config.width
        self.pre_emb, self.post_emb = (nn.Embedding(2**bits, width) for bits in config.bits)
        self.class_emb = LabelEmbedder(config.classes + 1, width)
        self.spatial_blocks, self.factorized_blocks = (
            nn.ModuleList(Block(width, config.heads) for _ in range(layers))
            for layers in (config.layers, config.inner_layers)
        )
        self.norm = nn.RMSNorm(width, eps=_EPS)
        self.head = nn.ModuleList(Linear(width, 2**bits, bias=False) for bits in config.bits)


def _run(blocks: nn.ModuleList, x: Tensor, table: Tensor, cache: KeyValueCache) -> Tensor:
    """Run blocks on one more token (rows, 1, width)."""
    place = table[cache.filled : cache.filled + 1]
    for layer, block in enumerate(blocks):
        x = block(x, place, None, cache, layer)
    cache.filled += 1
    return x
