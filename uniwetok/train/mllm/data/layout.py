"""From a record and its images' codes to the segments of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from uniwetok.mllm.layout import SequenceBuilder
from uniwetok.mllm.segments import (
    Image,
    Marker,
    Segment,
    Text,
    Turn,
    conversation,
    drawing_context,
    reply_opening,
    turn_end,
)
from uniwetok.randomness import generator
from uniwetok.train.mllm.config import SequenceData
from uniwetok.train.mllm.data.records import (
    Chat,
    Edit,
    Interleaved,
    Message,
    Record,
    TextImage,
    Words,
)

_AROUND_IMAGE = 4
"""Tokens that announce and end an image: its start, height, width and end."""


@dataclass(frozen=True)
class Draws:
    """What is drawn for a sample each time it is seen."""

    drop_text: bool = False
    drop_sources: bool = False
    describe: bool = False

    @classmethod
    def at(cls, config: SequenceData, seed: int, epoch: int, index: int) -> Draws:
        """Draw for a sample in an epoch, whatever process or step asks."""
        text, sources, describe = generator(seed, "layout", epoch, index).random(3)
        return cls(
            bool(text < config.condition_dropout),
            bool(sources < config.source_dropout),
            bool(describe < config.describe_share),
        )


def segments(record: Record, codes: Sequence[Tensor], draws: Draws) -> list[Segment]:
    """Lay out a record.

    Args:
        record: what it says.
        codes: (latent_channels, rows, columns) of each of its images, in their order.
        draws: what is left out or turned round this time.
    """
    if isinstance(record, TextImage):
        if draws.describe:
            return conversation([Turn("user", [codes[0]]), Turn("assistant", [record.text])])
        return _drawn([], None if draws.drop_text else record.text, codes[0])
    if isinstance(record, Edit):
        sources = [] if draws.drop_sources else list(codes[:-1])
        return _drawn(sources, None if draws.drop_text else record.instruction, codes[-1])
    if isinstance(record, Chat):
        left = list(codes)
        return conversation([_turn(message, left) for message in record.messages])
    return _document(record, codes)


def _drawn(sources: Sequence[Tensor], text: str | None, codes: Tensor) -> list[Segment]:
    return [*drawing_context(sources, text), Image(codes, generated=True), *turn_end()]


def _turn(message: Message, left: list[Tensor]) -> Turn:
    parts = [part.text if isinstance(part, Words) else left.pop(0) for part in message.parts]
    return Turn(message.role, parts)


def _document(record: Interleaved, codes: Sequence[Tensor]) -> list[Segment]:
    """A reply to nothing, all of whose text is predicted and whose images are as they say."""
    left = list(codes)
    laid: list[Segment] = reply_opening()
    for part in record.parts:
        if isinstance(part, Words):
            laid.append(Text(part.text, predicted=True))
        else:
            laid.append(Image(left.pop(0), generated=part.generated))
    return [*laid, *turn_end(predicted=isinstance(record.parts[-1], Words))]


def most_tokens(
    record: Record, grids: Sequence[tuple[int, int]], builder: SequenceBuilder, describes: bool
) -> int:
    """Count the positions of a record's longest layout, whatever is drawn.

    Args:
        record: what it says.
        grids: rows and columns of tokens of each of its images.
        builder: of the run.
        describes: whether captions may be replies.
    """
    codes = [torch.empty(1, *grid, device="meta") for grid in grids]
    layouts = [Draws(), Draws(describe=True)] if describes else [Draws()]
    return max(
        sum(_length(segment, builder) for segment in segments(record, codes, draws))
        for draws in layouts
    )


def _length(segment: Segment, builder: SequenceBuilder) -> int:
    if isinstance(segment, Marker):
        return 1
    if isinstance(segment, Text):
        return len(builder.encode(segment.text))
    assert isinstance(segment, Image)
    queries = builder.config.parallel_tokens - 1 if segment.generated else 0
    return _AROUND_IMAGE + queries + segment.codes[0].numel()
