"""The configuration of the class-to-image model, with the paper's and the released sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from uniwetok.fields import Mapped, check_counts, check_share, store_floats
from uniwetok.tokenizer.config import check_heads


class HeadSizes(Mapped):
    """What a diffusion head reads of the configuration of the model around it."""

    width: int
    latent_channels: int
    parallel_tokens: int
    diffusion_width: int
    diffusion_blocks: int
    diffusion_modulations: int
    flip_rate: float
    time_mean: float
    time_std: float
    _head_dim: ClassVar[int]

    @property
    def patch(self) -> int:
        """Side, in tokens, of the patch that one step predicts."""
        return math.isqrt(self.parallel_tokens)

    @property
    def diffusion_heads(self) -> int:
        """Attention heads of the diffusion head, where its tokens see each other."""
        return self.diffusion_width // self._head_dim

    def check_head(self) -> None:
        """Require what every such model needs: counts, a normal of times, blocks that divide.

        Raises:
            ValueError: a value is impossible.
        """
        super().__post_init__()
        check_counts(self)
        store_floats(self)
        check_share("flip_rate", self.flip_rate, "probability")
        if not math.isfinite(self.time_mean) or not 0 < self.time_std < math.inf:
            raise ValueError(
                f"time_mean={self.time_mean} and time_std={self.time_std} are no normal "
                f"distribution: both must be finite, time_std above 0"
            )
        check_modulations(self.diffusion_blocks, self.diffusion_modulations)


@dataclass(frozen=True, kw_only=True)
class BitDanceConfig(HeadSizes):
    """Sizes and training objective of a BitDance; the defaults are UniWeTok-B's (paper, Tab. 9)."""

    width: int = 768
    """Channels of a token in the transformer."""
    layers: int = 24
    """Blocks of the transformer."""
    heads: int = 12
    """Attention heads; neither the names nor the shapes of the weights depend on it."""
    diffusion_width: int = 768
    """Channels of a token in the diffusion head."""
    diffusion_blocks: int = 6
    """Residual blocks of the diffusion head."""
    diffusion_modulations: int = 2
    """Layers that give the adaptive norms' scale, shift and gate, each for an equal run of
    consecutive blocks."""
    latent_channels: int = 128
    """Bits of one token; those of the tokenizer."""
    grid: int = 8
    """Tokens along each side of the square image (256 pixels at 32 a token)."""
    classes: int = 1000
    """Classes; the embedding has one row more, the null class of guidance."""
    class_tokens: int = 64
    """Tokens that a class becomes. With 64, not the released class's default of 16, the sizes are
    the published ones."""
    parallel_tokens: int = 1
    """Tokens predicted at each step: 1, or the p x p tokens of a square patch (released: 4, 16)."""
    loss_repeats: int = 4
    """Training: times that each hidden state meets a fresh time and noise (released,
    "diff_batch_mul")."""
    label_dropout: float = 0.1
    """Training: probability that a label becomes the null class. At 0 the null class is never
    learned, and guidance is refused."""
    flip_rate: float = 0.1
    """Training: upper end of the uniform probability with which a bit of the input is flipped, so
    that half as many are on average (released: 0.1 for B, 0.05 for L and H)."""
    time_mean: float = -0.8
    """Training: mean of the normal whose sigmoid is the diffusion time."""
    time_std: float = 0.8
    """Training: standard deviation of that normal."""

    _head_dim = 64
    """Channels of an attention head of the parallel diffusion head (released)."""

    def __post_init__(self) -> None:
        self.check_head()
        check_share("label_dropout", self.label_dropout, "probability")
        check_heads(self.width, self.heads)
        if self.patch**2 != self.parallel_tokens or self.grid % self.patch:
            raise ValueError(
                f"parallel_tokens={self.parallel_tokens} is not the size of square patches that "
                f"tile {self.grid}x{self.grid} tokens; use 1, 4 or 16"
            )
        if self.parallel_tokens > 1 and self.diffusion_width % self._head_dim:
            raise ValueError(
                f"diffusion_width={self.diffusion_width} must be a multiple of "
                f"{self._head_dim}, the size of the diffusion head's attention heads, where "
                f"parallel_tokens is above 1"
            )

    @property
    def tokens(self) -> int:
        """Tokens of an image (paper: 64)."""
        return self.grid**2

    @property
    def steps(self) -> int:
        """Steps in which the transformer predicts an image."""
        return self.tokens // self.parallel_tokens

    @property
    def prefix(self) -> int:
        """Tokens before the image: the class and, in parallel prediction, the queries."""
        return self.class_tokens + self.parallel_tokens - 1

    @property
    def sequence(self) -> int:
        """Tokens the transformer sees: the prefix and all but the last step's."""
        return self.prefix + self.tokens - self.parallel_tokens

    @classmethod
    def preset(cls, name: str) -> BitDanceConfig:
        """Return a named configuration of ``PRESETS``.

        Raises:
            ValueError: there is no such preset; the message lists them.
        """
        if name not in PRESETS:
            raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
        return PRESETS[name]

    def differences(self, other: BitDanceConfig) -> dict[str, Any]:
        """Return this configuration's values of the fields that shape weights and differ."""
        theirs = other.to_dict()
        shaping = [field.name for field in fields(self) if field.type == "int"]
        unseen = {"heads", "loss_repeats"}
        return {
            name: value
            for name, value in self.to_dict().items()
            if name in shaping and name not in unseen and value != theirs[name]
        }


def check_modulations(blocks: int, modulations: int) -> None:
    """Require a head's modulations to divide its blocks; raise ``ValueError`` if they do not."""
    if blocks % modulations:
        raise ValueError(
            f"diffusion_modulations={modulations} does not divide diffusion_blocks={blocks}"
        )


_B: dict[str, Any] = {}
_L: dict[str, Any] = {
    "width": 1024,
    "layers": 32,
    "heads": 16,
    "diffusion_width": 1024,
    "diffusion_blocks": 8,
    "flip_rate": 0.05,
}
_H: dict[str, Any] = {
    "width": 1280,
    "layers": 40,
    "heads": 20,
    "diffusion_width": 1280,
    "diffusion_blocks": 12,
    "diffusion_modulations": 3,
    "flip_rate": 0.05,
}
_RELEASED: dict[str, Any] = {"latent_channels": 32, "grid": 16}

PRESETS: Mapping[str, BitDanceConfig] = {
    "uniwetok-b": BitDanceConfig(**_B),
    "uniwetok-l": BitDanceConfig(**_L),
    "uniwetok-h": BitDanceConfig(**_H),
    "bitdance-b": BitDanceConfig(**_B, **_RELEASED),
    "bitdance-l": BitDanceConfig(**_L, **_RELEASED),
    "bitdance-h": BitDanceConfig(**_H, **_RELEASED),
    "bitdance-b-4x": BitDanceConfig(**_B, **_RELEASED, parallel_tokens=4),
    "bitdance-b-16x": BitDanceConfig(**_B, **_RELEASED, parallel_tokens=16),
}
"""The paper's models over UniWeTok codes, and the released ones over 16x codes of 32 bits.

L and H flip input bits at 0.05, half of B's rate, as the released training commands do.
"""
