"""Where training images come from and how they are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uniwetok.fields import Settings, check_count, check_share
from uniwetok.train.data.mixture import read_weights

Crop = Literal["random", "center"]
Partition = Literal["drawn", "fixed"]
_MOST_WORKERS = 256
"""A process each, for every process that trains: more would only fill the memory."""


@dataclass(frozen=True, kw_only=True)
class ReadingConfig(Settings):
    """What the data of all three models has in common."""

    mixture: tuple[str, ...] = ()
    """Sources and their weights, NAME@WEIGHT each, as in faces@0.3: by images, or records.
    `--data NAME=PATH` says where they are, and `--data NAME=PATH@WEIGHT` sets both. Empty for one
    source without a name."""
    corrupt_limit: float = 0.01
    """Share of unreadable images above which training, or encoding, stops; below, others take
    their places, or they and their records are left out, and counted."""
    workers: int = 4
    """Processes that read and decode; 0 does so in the training process. Changes no result."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mixture", tuple(self.mixture))
        super().__post_init__()
        read_weights(self.mixture)
        check_share("corrupt_limit", self.corrupt_limit)
        check_count("workers", self.workers, 0, _MOST_WORKERS)


@dataclass(frozen=True, kw_only=True)
class DataConfig(ReadingConfig):
    """Images of a training run; no flip, as released."""

    resolution: int = 256
    """Height and width in pixels: the shorter side is resized to it, then it is cropped."""
    crop: Crop = "random"
    """Paper: random crop. (WeTok's code crops the center of web images.)"""
    buckets: tuple[tuple[int, int], ...] = ()
    """(height, width) of the second and third stage; each process takes one a step, and fills it to
    the pixel budget of its share of the batch at ``resolution``, with one image at least. Empty
    trains at ``resolution`` alone. Paper: several resolutions at once, without figures."""
    partition: Partition = "drawn"
    """Which of the buckets a process takes. "drawn": any, each step anew, all alike. "fixed": the
    processes are dealt out to the buckets' resolutions for good, and each draws among the shapes of
    its own; processes fewer than resolutions take these in turns. Paper: "partition computational
    resources"."""
    draft: bool = False
    """Decode JPEGs at 1/8, 1/4 or 1/2 of their size where that covers what is cut from them: large
    photos several times as fast, with pixels that differ a little from those of a whole image made
    smaller. Released: whole."""
    shuffle_shards: int = 8
    """Shards of a WebDataset that are mixed at a time."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "buckets", tuple(tuple(size) for size in self.buckets))
        super().__post_init__()
        for side in (self.resolution, *(side for size in self.buckets for side in size)):
            check_count("a side of pixels", side)
        if any(len(size) != 2 for size in self.buckets):
            raise ValueError(f"buckets={self.buckets}: give (height, width) pairs")
        check_count("shuffle_shards", self.shuffle_shards)
