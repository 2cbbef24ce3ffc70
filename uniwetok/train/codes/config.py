"""Which views of the images a class-to-image model is trained on."""

from __future__ import annotations

from dataclasses import dataclass

from uniwetok.fields import check_count, check_share


@dataclass(frozen=True, kw_only=True)
class CodesConfig:
    """Views of the images, as codes; the defaults are the released augmentation (ADM's).

    Raises:
        ValueError: a value is impossible; the message names the field, its value and the fix.
    """

    resolution: int = 256
    """Height and width of a view in pixels."""
    views: int = 8
    """Random views of an image that are kept as codes and seen in turn, beside its center crop and
    that crop's mirror image: 10 KiB an image. 0 keeps none: every image is encoded anew each time
    it is seen, as released, at several times the cost of a step."""
    smallest_crop: float = 0.8
    """Smallest side of a random crop over the image's shorter side (released: 0.8 to 1)."""
    center_from: float = 0.875
    """Share of the run after which center crops begin to take the place of random ones. Released:
    epoch 700 of 800."""
    center_until: float = 0.9375
    """Share of the run after which all crops are center crops; their share grows linearly up to
    there. Released: epoch 750 of 800."""
    corrupt_limit: float = 0.01
    """Share of unreadable images above which encoding stops, once 100 have been read."""
    shuffle_shards: int = 8
    """Shards of a WebDataset that are mixed at a time, where ``views`` is 0."""
    workers: int = 4
    """Processes that decode images; 0 decodes in the training process. Changes no result."""

    def __post_init__(self) -> None:
        for name, least in (("resolution", 1), ("views", 0), ("shuffle_shards", 1), ("workers", 0)):
            check_count(name, getattr(self, name), least)
        if not 0 < self.smallest_crop <= 1:
            raise ValueError(f"smallest_crop={self.smallest_crop} must be above 0 and at most 1")
        if not 0 <= self.center_from <= self.center_until <= 1:
            raise ValueError(
                f"center_from={self.center_from} and center_until={self.center_until} must be "
                f"shares of the run in 0..1, in order"
            )
        check_share("corrupt_limit", self.corrupt_limit)

    def center_share(self, progress: float) -> float:
        """Give the probability of a center crop at a share of the run in 0..1."""
        if progress < self.center_from:
            return 0.0
        if progress >= self.center_until:
            return 1.0
        return (progress - self.center_from) / (self.center_until - self.center_from)
