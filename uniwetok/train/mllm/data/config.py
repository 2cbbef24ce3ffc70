"""How records become packed sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from uniwetok.fields import check_choice, check_count, check_share
from uniwetok.train.mllm.data.records import KINDS, Kind

OverLong = Literal["skip", "refuse"]


@dataclass(frozen=True, kw_only=True)
class SequenceData:
    """Sequences of a training run; the defaults are those of BitDance's released training.

    Raises:
        ValueError: a value is impossible; the message names the field, its value and the fix.
    """

    row_tokens: int = 37_376
    """Positions of a row, into which samples are packed. Released: at most 37,376."""
    kinds: tuple[Kind, ...] = KINDS
    """Kinds of records that are trained on; others are refused."""
    over_long: OverLong = "skip"
    """What becomes of samples longer than a row: left out and counted, or refused."""
    image_area: int = 1024 * 1024
    """Pixels above which an image is shrunk; below, it keeps its size but for rounding to whole
    tokens. Paper: "native resolutions", without figures. Released: sizes of about 1024 x 1024."""
    condition_dropout: float = 0.1
    """Share of the captions and instructions that are left out, for guidance. Released: 0.1."""
    source_dropout: float = 0.1
    """Share of the edits whose source images are left out, for the guidance by images. Neither
    paper nor release says anything: as the text's."""
    describe_share: float = 0.0
    """Share of the captions with images that are laid out the other way round, image first, as a
    reply to be learned. Neither paper nor release says anything."""
    cache: bool = True
    """Encode every image once, before the first step, and keep its codes; else they are encoded
    each time they are seen."""
    corrupt_limit: float = 0.01
    """Share of unreadable images above which training stops; below, their samples are left out
    and counted."""
    workers: int = 4
    """Processes that read records and decode images; 0 does so in the training process. Changes
    no result."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))
        for name, least in (("row_tokens", 16), ("image_area", 1), ("workers", 0)):
            check_count(name, getattr(self, name), least)
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"kinds={self.kinds}: give some of {', '.join(KINDS)}")
        check_choice("over_long", self.over_long, get_args(OverLong))
        for name in ("condition_dropout", "source_dropout", "describe_share", "corrupt_limit"):
            check_share(name, getattr(self, name))
