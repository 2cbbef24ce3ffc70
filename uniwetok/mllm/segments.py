"""The pieces that sequences are built of: special tokens, texts and images, turns and drawings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uniwetok.mllm.config import MLLMConfig, MLLMError

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD = "<|image_pad|>"
"""Stands where an image's tokens are; its embedding is never used."""
_LISTED = 5


@dataclass(frozen=True)
class Text:
    """Text as it stands: markers in it become ordinary text, not special tokens."""

    text: str
    predicted: bool = False
    """Whether the text loss is on it."""


@dataclass(frozen=True)
class Marker:
    """One special token, by its name."""

    token: str
    predicted: bool = False


@dataclass(frozen=True, eq=False)
class Image:
    """A whole image, that is given or that is to be generated."""

    codes: Tensor
    """(latent_channels, rows, columns), +1 or -1, as the image tokenizer encodes."""
    generated: bool = False
    """Whether the vision loss is on it."""


@dataclass(frozen=True)
class Canvas:
    """An image yet to be drawn, of ``rows`` x ``columns`` tokens; the last segment of a prompt."""

    rows: int
    columns: int


Segment = Text | Marker | Image | Canvas


@dataclass(frozen=True, eq=False)
class Turn:
    """What is said: texts, and images as codes (see ``Image``), in order."""

    role: Literal["system", "user", "assistant"]
    parts: Sequence[str | Tensor]


def conversation(turns: Sequence[Turn]) -> list[Segment]:
    """Lay out turns; what the assistant says, its images and the end of its texts are predicted."""
    return [segment for turn in turns for segment in _turn(turn)]


def reply_opening() -> list[Segment]:
    """Give what stands before the assistant's words."""
    return [Marker(IM_START), Text("assistant\n")]


def turn_end(*, predicted: bool = False) -> list[Segment]:
    """Give what stands after anybody's words."""
    return [Marker(IM_END, predicted=predicted), Text("\n")]


def drawing_context(sources: Sequence[Tensor], text: str | None) -> list[Segment]:
    """Lay out what stands before a drawn image.

    The source images come first, so that they stay where the user's turn is left out (released).

    Args:
        sources: codes of the images to edit, as in ``Image``; none to draw from text alone.
        text: caption or instruction; None leaves the user's turn out.
    """
    turns = [] if text is None else [Turn("user", [text])]
    return [*(Image(codes) for codes in sources), *conversation(turns), *reply_opening()]


def _turn(turn: Turn) -> list[Segment]:
    speaks = turn.role == "assistant"
    segments: list[Segment] = [Marker(IM_START), Text(f"{turn.role}\n")]
    for part in turn.parts:
        if not isinstance(part, str):
            segments.append(Image(part, generated=speaks))
        elif not speaks and isinstance(segments[-1], Text):
            # As one text, since its tokens may reach across the line's end.
            segments[-1] = Text(segments[-1].text + part)
        else:
            segments.append(Text(part, predicted=speaks))
    says = speaks and bool(turn.parts) and isinstance(turn.parts[-1], str)
    return [*segments, *turn_end(predicted=says)]


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
