"""Where training images come from and how they are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from uniwetok.fields import check_choice, check_count, check_share

Crop = Literal["random", "center"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Images of a training run; no flip, as released.

    Raises:
        ValueError: a value is impossible; the message names the field, its value and the fix.
    """

    resolution: int = 256
    """Height and width in pixels: the shorter side is resized to it, then it is cropped."""
    crop: Crop = "random"
    """Paper: random crop. (WeTok's code crops the center of web images.)"""
    buckets: tuple[tuple[int, int], ...] = ()
    """(height, width) of the second and third stage; each process draws one a step, all alike, and
    fills it to the pixel budget of its share of the batch at ``resolution``, with one image at
    least. Empty trains at ``resolution`` alone. Paper: several resolutions at once by splitting
    devices, without figures."""
    corrupt_limit: float = 0.01
    """Share of unreadable images above which training stops, once 100 have been read since it
    started; below, the next image takes the place of each, and they are counted."""
    shuffle_shards: int = 8
    """Shards of a WebDataset that are mixed at a time."""
    workers: int = 4
    """Processes that decode images; 0 decodes in the training process. Changes no result."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "buckets", tuple(tuple(size) for size in self.buckets))
        check_choice("crop", self.crop, get_args(Crop))
        for side in (self.resolution, *(side for size in self.buckets for side in size)):
            check_count("a side of pixels", side)
        if any(len(size) != 2 for size in self.buckets):
            raise ValueError(f"buckets={self.buckets}: give (height, width) pairs")
        check_share("corrupt_limit", self.corrupt_limit)
        check_count("shuffle_shards", self.shuffle_shards)
        check_count("workers", self.workers, 0)
