"""Masks as the attention implementations of ``transformers`` take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from uniwetok.mllm.errors import MLLMError

if TYPE_CHECKING:
    from uniwetok.mllm.batch import Batch

MASKED = ("sdpa", "eager", "flex_attention")
"""Implementations that take the masks of packed sequences. The last needs no memory in proportion
to the square of the length, and is for training alone."""


def check_attention(implementation: str) -> None:
    """Require an implementation that takes masks of packed sequences.

    Raises:
        MLLMError: it is another.
    """
    if implementation not in MASKED:
        raise MLLMError(
            f"attention {implementation!r} takes no mask of packed sequences: load the language "
            f"model with attn_implementation='sdpa'"
        )


def packed_mask(batch: Batch, implementation: str) -> Tensor | BlockMask:
    """Give which positions of a batch see which: (rows, 1, length, length) bool, or in blocks."""
    if implementation != "flex_attention":
        return batch.seen()

    def seen(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = batch.samples[row, query] == batch.samples[row, key]
        return same & (batch.blocks[row, query] >= batch.blocks[row, key])

    rows, length = batch.ids.shape
    return create_block_mask(seen, rows, None, length, length, device=batch.ids.device)


def fitted_mask(
    seen: Tensor | BlockMask | None, implementation: str, dtype: torch.dtype
) -> Tensor | BlockMask | None:
    """Turn a mask into the kind that the implementation takes: for eager, what is added to logits.

    Raises:
        MLLMError: the implementation takes no such mask.
    """
    if not isinstance(seen, Tensor):
        return seen
    if implementation == "flex_attention":
        raise MLLMError("flex_attention is for training: load with attention='sdpa' to answer")
    if implementation == "eager":
        zeros = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return zeros.masked_fill_(~seen, torch.finfo(dtype).min)
    return seen
