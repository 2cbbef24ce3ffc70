"""The tokens of a text tokenizer that mark turns, images, sizes and queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniwetok.mllm.errors import MLLMError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from uniwetok.mllm.config import MLLMConfig

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD = "<|image_pad|>"
"""Stands where an image's tokens are; its embedding is never used."""
_LISTED = 5


def special_tokens(config: MLLMConfig) -> list[str]:
    """Name every token that a tokenizer must have as one of its own, Qwen3's five first."""
    sizes = [resolution_token(count) for count in range(1, config.resolutions + 1)]
    queries = [query_token(place) for place in range(1, config.parallel_tokens)]
    return [IM_START, IM_END, VISION_START, VISION_END, IMAGE_PAD, *sizes, *queries]


def resolution_token(count: int) -> str:
    """Name the token of a side of ``count`` image tokens; sides are announced height first."""
    return f"<|res_{count}|>"


def query_token(place: int) -> str:
    """Name the query of the first step's token ``place`` in 1 .. parallel_tokens - 1."""
    return f"<|query_{place}|>"


def add_special_tokens(tokenizer: PreTrainedTokenizerBase, config: MLLMConfig) -> int:
    """Add those that the tokenizer lacks; returns how many.

    The language model's table must have a row for each: see ``MLLM.build``.
    """
    missing = missing_tokens(tokenizer, config)
    return int(tokenizer.add_tokens(missing, special_tokens=True)) if missing else 0


def missing_tokens(tokenizer: PreTrainedTokenizerBase, config: MLLMConfig) -> list[str]:
    """Name the special tokens that the tokenizer lacks."""
    known = tokenizer.get_vocab()
    return [token for token in special_tokens(config) if token not in known]


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, config: MLLMConfig) -> None:
    """Require all special tokens.

    Raises:
        MLLMError: some are missing; the message lists the first.
    """
    missing = missing_tokens(tokenizer, config)
    if missing:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise MLLMError(
            f"the text tokenizer lacks {len(missing)} special tokens: "
            f"{', '.join(missing[:_LISTED])}{more}; add them with "
            f"uniwetok.mllm.add_special_tokens(tokenizer, config) before training"
        )
