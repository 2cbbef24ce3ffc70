r"""Sequences of text and images, from which batches are packed and prompts are made.

A sequence is a list of segments. The three kinds, where ``[image HxW]`` is ``<|vision_start|>``,
the resolution tokens of its height and width, its tokens and ``<|vision_end|>``:

- understanding: ``<|im_start|>user\n[image]...{text}<|im_end|>\n<|im_start|>assistant\n{reply}
  <|im_end|>\n``, for any number of turns;
- text to image: ``<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n[image]
  <|im_end|>\n``; without a prompt, for guidance, the whole user turn is left out;
- editing: the source images, each with its own size, then as text to image.

In an image that is generated, ``<|query_1|>`` ... follow the resolution tokens where
``parallel_tokens`` is above 1: the last resolution token and they predict the first patch, and
each patch the next one. Positions that predict together see each other; else all is causal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uniwetok.ar.transformer import patch_order
from uniwetok.mllm.config import MLLMConfig, MLLMError
from uniwetok.mllm.segments import (
    IMAGE_PAD,
    VISION_END,
    VISION_START,
    Canvas,
    Image,
    Marker,
    Segment,
    Text,
    Turn,
    check_tokenizer,
    conversation,
    drawing_context,
    query_token,
    reply_opening,
    resolution_token,
    special_tokens,
    turn_end,
)

NO_TARGET = -100
"""Where a position predicts no text."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSequence:
    """One sample of n positions with m image tokens, of which g are generated."""

    ids: Tensor
    """(n,) int64; ``<|image_pad|>`` where image tokens are."""
    blocks: Tensor
    """(n,) int64, never falling: a position sees those of its own and of lower blocks."""
    text_targets: Tensor
    """(n,) int64: the token id that each position predicts, ``NO_TARGET`` for none."""
    codes: Tensor
    """(m, latent_channels) +1 or -1, image by image, each in the order of generation."""
    code_positions: Tensor
    """(m,) int64: where they are among the n."""
    code_grid: Tensor
    """(m, 2) int64: row and column within their image."""
    generated: Tensor
    """(m,) bool: whether they are predicted."""
    condition_positions: Tensor
    """(g,) int64: positions that predict the generated tokens, in the tokens' order."""

    def __len__(self) -> int:
        return len(self.ids)


class SequenceBuilder:
    """Builds sequences in the tokens of a text tokenizer.

    Args:
        tokenizer: with all ``special_tokens``.
        config: of the model.

    Raises:
        MLLMError: the tokenizer lacks special tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: MLLMConfig) -> None:
        check_tokenizer(tokenizer, config)
        self.tokenizer = tokenizer
        self.config = config
        known = tokenizer.get_vocab()
        self.special_ids = {name: int(known[name]) for name in special_tokens(config)}
        # Sets the tokenizer to plain text once and for all: doing so is not safe among threads.
        self.encode("")

    def editing(
        self, sources: Sequence[Tensor], instruction: str | None, codes: Tensor
    ) -> TokenSequence:
        """Lay out source images, an instruction and the edited image.

        Args:
            sources: codes (latent_channels, rows, columns) of any sizes; none for the branch of
                guidance that knows no image.
            instruction: None for the branch that knows no text.
            codes: of the edited image.
        """
        context = drawing_context(sources, instruction)
        return self.build([*context, Image(codes, generated=True), *turn_end()])

    def drawing_prompt(
        self, sources: Sequence[Tensor], text: str | None, rows: int, columns: int
    ) -> TokenSequence:
        """Lay out what stands before an image that is to be drawn, and its first conditions.

        The last ``parallel_tokens`` positions are the conditions of its first step.
        """
        return self.build([*drawing_context(sources, text), Canvas(rows, columns)])

    def chat_prompt(self, turns: Sequence[Turn]) -> TokenSequence:
        """Lay out a conversation up to the assistant's next reply."""
        return self.build([*conversation(turns), *reply_opening()])

    def build(self, segments: Sequence[Segment]) -> TokenSequence:
        """Lay out any segments in their order.

        Raises:
            MLLMError: an image has another number of bits, or a size that its patches do not tile
                or that no resolution token announces.
        """
        draft = _Draft()
        for segment in segments:
            if isinstance(segment, Text):
                for token in self.encode(segment.text):
                    draft.add(token, predicted=segment.predicted)
            elif isinstance(segment, Marker):
                draft.add(self.special_ids[segment.token], predicted=segment.predicted)
            elif isinstance(segment, Canvas):
                self._open_image(draft, segment.rows, segment.columns, generated=True)
            else:
                self._add_image(draft, segment)
        return draft.finish(self.config.latent_channels)

    def encode(self, text: str) -> list[int]:
        """Give the token ids of plain text, in which markers are nothing special."""
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids

    def _open_image(self, draft: _Draft, rows: int, columns: int, *, generated: bool) -> int:
        """Add what announces an image and, where it is generated, predicts its first tokens.

        Returns:
            The position of the last resolution token, the first that predicts.
        """
        check_grid(rows, columns, self.config)
        draft.add(self.special_ids[VISION_START])
        draft.add(self.special_ids[resolution_token(rows)])
        draft.add(self.special_ids[resolution_token(columns)])
        first = len(draft.ids) - 1
        for place in range(1, self.config.parallel_tokens if generated else 1):
            draft.add(self.special_ids[query_token(place)], joins=True)
        return first

    def _add_image(self, draft: _Draft, image: Image) -> None:
        bits, rows, columns = image.codes.shape
        if bits != self.config.latent_channels:
            raise MLLMError(
                f"an image's tokens have {bits} bits, the model's {self.config.latent_channels}: "
                f"use the image tokenizer that the model was trained with"
            )
        first = self._open_image(draft, rows, columns, generated=image.generated)
        order = patch_order(rows, columns, self.config.patch)
        count = len(order)
        draft.codes.append(image.codes.flatten(1).T[order.to(image.codes.device)])
        draft.grids.append(torch.stack([order // columns, order % columns], dim=1))
        draft.generated.append(torch.full((count,), image.generated))
        start = len(draft.ids)
        draft.code_positions.extend(range(start, start + count))
        if image.generated:
            draft.conditions.extend(range(first, first + count))
        step = self.config.parallel_tokens if image.generated else 1
        for place in range(count):
            draft.add(self.special_ids[IMAGE_PAD], joins=place % step > 0)
        draft.add(self.special_ids[VISION_END])


@dataclass
class _Draft:
    """A sequence while it grows."""

    ids: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    codes: list[Tensor] = field(default_factory=list)
    grids: list[Tensor] = field(default_factory=list)
    generated: list[Tensor] = field(default_factory=list)
    code_positions: list[int] = field(default_factory=list)
    conditions: list[int] = field(default_factory=list)

    def add(self, token: int, *, predicted: bool = False, joins: bool = False) -> None:
        """Add a position, which the one before predicts, or which joins the block before."""
        if predicted and self.targets:
            self.targets[-1] = token
        self.ids.append(token)
        last = self.blocks[-1] if self.blocks else -1
        self.blocks.append(last if joins else last + 1)
        self.targets.append(NO_TARGET)

    def finish(self, bits: int) -> TokenSequence:
        return TokenSequence(
            ids=torch.tensor(self.ids, dtype=torch.int64),
            blocks=torch.tensor(self.blocks, dtype=torch.int64),
            text_targets=torch.tensor(self.targets, dtype=torch.int64),
            codes=torch.cat(self.codes) if self.codes else torch.empty(0, bits),
            code_positions=torch.tensor(self.code_positions, dtype=torch.int64),
            code_grid=torch.cat([torch.empty(0, 2, dtype=torch.int64), *self.grids]),
            generated=torch.cat([torch.empty(0, dtype=torch.bool), *self.generated]),
            condition_positions=torch.tensor(self.conditions, dtype=torch.int64),
        )


def check_grid(rows: int, columns: int, config: MLLMConfig) -> None:
    """Require a grid that patches tile and resolution tokens announce.

    Raises:
        MLLMError: they do not; the message gives the size in pixels.
    """
    size = f"{rows * config.downsample}x{columns * config.downsample}"
    if max(rows, columns) > config.resolutions:
        raise MLLMError(f"an image of {size} has a side above {config.max_side} pixels: shrink it")
    if min(rows, columns) < 1 or rows % config.patch or columns % config.patch:
        raise MLLMError(
            f"an image of {size} is not made of whole patches: both sides must be multiples of "
            f"{config.multiple} pixels for parallel_tokens={config.parallel_tokens}"
        )
