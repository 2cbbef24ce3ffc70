"""The configuration of the unified multimodal model, beside its language model's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uniwetok.ar.config import HeadSizes

PARALLEL = (1, 4, 16, 64)
"""Tokens that may be predicted at a time. At 32 pixels a token, patches of 64 tile no released
size but 512x512, 1024x1024 and the like; they are those of a released model of 16 pixels."""


class MLLMError(ValueError):
    """What was asked cannot be done; the one-line message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class MLLMConfig(HeadSizes):
    """Sizes and training objective around a language model; the defaults fit Qwen3-8B (paper)."""

    width: int = 4096
    """Channels of a token in the language model, its ``hidden_size``."""
    latent_channels: int = 128
    """Bits of an image token; those of the image tokenizer."""
    downsample: int = 32
    """Pixels of an image along each side of a token."""
    max_side: int = 4096
    """Longest side of an image in pixels. There is one resolution token for each side up to it:
    ``<|res_1|>`` is ``downsample`` pixels, ``<|res_128|>`` 4096."""
    parallel_tokens: int = 1
    """Image tokens predicted at each step: 1, or the 4, 16 or 64 of a square patch."""
    diffusion_width: int = 4096
    """Channels of a token in the diffusion head, whose attention heads have 128 each."""
    diffusion_blocks: int = 6
    """Residual blocks of the diffusion head."""
    diffusion_modulations: int = 2
    """Layers that give the adaptive norms' scale, shift and gate, each for an equal run of
    consecutive blocks."""
    loss_repeats: int = 1
    """Training: times that each condition meets a fresh time and noise ("diff_batch_mul")."""
    flip_rate: float = 0.1
    """Training: upper end of the uniform probability with which a bit of an image that is to be
    generated is flipped where it is read, so that half as many are on average."""
    text_weight: float = 0.01
    """Training: weight of the text's loss in the total; that of the images is 1."""
    time_mean: float = -0.8
    """Training: mean of the normal whose sigmoid is the diffusion time."""
    time_std: float = 0.8
    """Training: standard deviation of that normal."""

    _head_dim = 128
    """Channels of an attention head of the diffusion head (released)."""

    def __post_init__(self) -> None:
        self.check_head()
        if not 0 <= self.text_weight < math.inf:
            raise ValueError(f"text_weight={self.text_weight} must be a finite number >= 0")
        if self.width % 4:
            raise ValueError(f"width={self.width} must be a multiple of 4 for sines and cosines")
        if self.parallel_tokens not in PARALLEL:
            raise ValueError(f"parallel_tokens={self.parallel_tokens} is none of 1, 4, 16, 64")
        if self.diffusion_width % self._head_dim:
            raise ValueError(
                f"diffusion_width={self.diffusion_width} must be a multiple of {self._head_dim}, "
                f"the size of the diffusion head's attention heads"
            )
        if self.max_side % self.multiple:
            raise ValueError(f"max_side={self.max_side} is not a multiple of {self.multiple}")

    @property
    def multiple(self) -> int:
        """Pixels of which both sides of every image are multiples: of 32, 64 or 128 by patch."""
        return self.downsample * self.patch

    @property
    def resolutions(self) -> int:
        """How many resolution tokens there are (paper's sizes: 128)."""
        return self.max_side // self.downsample


PRESETS: Mapping[str, MLLMConfig] = {
    "qwen3-8b": MLLMConfig(),
    "bitdance-14b-16x": MLLMConfig(
        width=5120, latent_channels=32, downsample=16, parallel_tokens=16, diffusion_width=5120
    ),
}
"""The paper's sizes, around Qwen3-8B, and those of a released model, around Qwen3-14B."""

LANGUAGE_MODELS: Mapping[str, Mapping[str, Any]] = {
    "qwen3-8b": {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "vocab_size": 151936,
        "tie_word_embeddings": False,
    },
    "bitdance-14b-16x": {
        "hidden_size": 5120,
        "intermediate_size": 17408,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "vocab_size": 151936,
        "tie_word_embeddings": False,
    },
}
"""Arguments of ``transformers.Qwen3Config`` for the language models of ``PRESETS``."""
