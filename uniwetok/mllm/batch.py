"""Batches: several sequences packed into each row, none of which sees another, and their masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.utils.rnn import pad_sequence

from uniwetok.mllm.config import MLLMError
from uniwetok.mllm.layout import NO_TARGET, TokenSequence

_PADDING = -1
MASKED = ("sdpa", "eager", "flex_attention")
"""Implementations that take the masks of packed sequences. The last needs no memory in proportion
to the square of the length, and is for training alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Rows of positions with M image tokens in all, of which G are generated.

    ``code_index``, ``condition_index`` and ``text_index`` count positions through all rows, row by
    row. What is chosen is listed, not marked: a GPU would have to be waited for to count marks.
    """

    ids: Tensor
    """(rows, length) int64."""
    samples: Tensor
    """(rows, length) int64: number of the sample within its row, -1 for padding."""
    blocks: Tensor
    """(rows, length) int64; see ``TokenSequence``."""
    positions: Tensor
    """(rows, length) int64: position within the sample."""
    text_targets: Tensor
    """(rows, length) int64; see ``TokenSequence``."""
    codes: Tensor
    """(M, latent_channels), +1 or -1."""
    code_index: Tensor
    """(M,) int64: where the image tokens are."""
    code_grid: Tensor
    """(M, 2) int64: row and column within their image."""
    generated: Tensor
    """(G,) int64: which of the M are predicted."""
    text_index: Tensor
    """(T,) int64: positions that predict text, those with a target."""
    condition_index: Tensor
    """(G,) int64: positions that predict the generated tokens, in the tokens' order."""

    @property
    def tokens(self) -> int:
        """Positions that are not padding."""
        return int((self.samples != _PADDING).sum())

    def seen(self) -> Tensor:
        """Whether each position sees each other, (rows, 1, length, length) bool.

        Memory grows with the square of the length. Padding sees padding, so that no row is empty.
        """
        # Causal by blocks rather than by positions: tokens that are predicted together share one
        # block and see each other, also those after them.
        same = self.samples[:, :, None] == self.samples[:, None, :]
        return (same & (self.blocks[:, :, None] >= self.blocks[:, None, :]))[:, None]

    def to(self, device: torch.device | str) -> Self:
        """Copy to a device."""
        moved = {
            each.name: getattr(self, each.name).to(device, non_blocking=True)
            for each in dataclasses.fields(self)
        }
        return dataclasses.replace(self, **moved)


def collate(
    rows: Sequence[Sequence[TokenSequence]],
    *,
    length: int | None = None,
    padding: Literal["left", "right"] = "right",
) -> Batch:
    """Pack sequences; the order of samples is that of the rows.

    Args:
        rows: the sequences of each row.
        length: positions of a row; that of the longest if None.
        padding: the side that is filled up; left for generation.

    Raises:
        MLLMError: there are no rows, an empty one, or one above ``length``.
    """
    if not rows or not all(rows):
        raise MLLMError("a batch needs rows, and every row a sequence")
    lengths = [sum(len(sequence) for sequence in row) for row in rows]
    length = max(lengths) if length is None else length
    if max(lengths) > length:
        raise MLLMError(f"a row of {max(lengths)} tokens is above the limit of {length}")
    shifts = [length - used if padding == "left" else 0 for used in lengths]
    offsets: list[int] = []
    for index, (row, shift) in enumerate(zip(rows, shifts, strict=True)):
        start = index * length + shift
        for sequence in row:
            offsets.append(start)
            start += len(sequence)
    every = [sequence for row in rows for sequence in row]
    placed = list(zip(every, offsets, strict=True))

    def spread(parts: list[list[Tensor]], filler: int) -> Tensor:
        joined = [torch.cat(part) for part in parts]
        out = pad_sequence(joined, batch_first=True, padding_value=filler, padding_side=padding)
        missing = length - out.shape[1]
        sides = (missing, 0) if padding == "left" else (0, missing)
        return torch.nn.functional.pad(out, sides, value=filler)

    text_targets = spread([[each.text_targets for each in row] for row in rows], NO_TARGET)
    return Batch(
        ids=spread([[each.ids for each in row] for row in rows], 0),
        samples=spread(
            [[torch.full((len(each),), k) for k, each in enumerate(row)] for row in rows], _PADDING
        ),
        blocks=spread([[each.blocks for each in row] for row in rows], 0),
        positions=spread([[torch.arange(len(each)) for each in row] for row in rows], 0),
        text_targets=text_targets,
        text_index=(text_targets.flatten() != NO_TARGET).nonzero().flatten(),
        codes=torch.cat([each.codes for each in every]),
        code_index=torch.cat([each.code_positions + start for each, start in placed]),
        code_grid=torch.cat([each.code_grid for each in every]),
        generated=torch.cat([each.generated for each in every]).nonzero().flatten(),
        condition_index=torch.cat([each.condition_positions + start for each, start in placed]),
    )


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
