"""Settings of a training run of the class-to-image model, and the views it is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field

from uniwetok.ar.config import BitDanceConfig
from uniwetok.fields import check_count
from uniwetok.train.data.config import ReadingConfig
from uniwetok.train.engine.settings import (
    EncodingPrecision,
    ImageRunSettings,
    OptimizerConfig,
)

UNDECAYED = ("proj_in", "cls_embedding")
"""Parts of the names of weights without decay, beside those of fewer than two dimensions
(released)."""


def released_optimizer() -> OptimizerConfig:
    """AdamW as released: linear warm-up over 20,000 steps to 6e-4, then a cosine to 1e-5."""
    return OptimizerConfig(
        learning_rate=6e-4,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        schedule="cosine",
        warmup_steps=20_000,
        final_ratio=1e-5 / 6e-4,
        max_gradient_norm=1.0,
    )


@dataclass(frozen=True, kw_only=True)
class CodesConfig(ReadingConfig):
    """Views of the images, as codes; the defaults are the released augmentation (ADM's).

    Of a mixture, classes of the same name are one.
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
    precision: EncodingPrecision = "float32"
    """Precision that images are encoded in, whatever the passes of training are in; half precision
    flips bits whose latents are near 0. Codes of one are never taken for those of another."""
    shuffle_shards: int = 8
    """Shards of a WebDataset that are mixed at a time, where ``views`` is 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("resolution", 1), ("views", 0), ("shuffle_shards", 1)):
            check_count(name, getattr(self, name), least)
        if not 0 < self.smallest_crop <= 1:
            raise ValueError(f"smallest_crop={self.smallest_crop} must be above 0 and at most 1")
        if not 0 <= self.center_from <= self.center_until <= 1:
            raise ValueError(
                f"center_from={self.center_from} and center_until={self.center_until} must be "
                f"shares of the run in 0..1, in order"
            )

    def center_share(self, progress: float) -> float:
        """Give the probability of a center crop at a share of the run in 0..1."""
        if progress < self.center_from:
            return 0.0
        if progress >= self.center_until:
            return 1.0
        return (progress - self.center_from) / (self.center_until - self.center_from)


@dataclass(frozen=True, kw_only=True)
class ARTraining(ImageRunSettings):
    """One training run of the class-to-image model; the defaults are UniWeTok-B's (paper, Tab. 9).

    Where the paper is silent they are those of the released training of BitDance.
    """

    model: BitDanceConfig = field(default_factory=BitDanceConfig)
    """Sizes and objective."""
    optimizer: OptimizerConfig = field(default_factory=released_optimizer)
    """AdamW; see `released_optimizer`. Weight decay spares the weights of `UNDECAYED`."""
    data: CodesConfig = field(default_factory=CodesConfig)
    """Views of the images that are trained on."""
    batch_size: int = 1024
    """Images of one step over all processes. Released: 1024."""
    steps: int = 500_400
    """Paper: 33 billion tokens, which is 400 epochs of ImageNet with 64 tokens an image. The
    released training takes 800 epochs."""
    ema_decay: float = 0.9999
    """Decay of the EMA of the weights, which is evaluated and exported. Released: 0.9999."""
    log_every: int = 100
    checkpoint_every: int = 2500
    grid_every: int = 10_000
    """Steps between pictures of samples; 0 makes none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.resolution % self.model.grid:
            raise ValueError(
                f"data.resolution={self.data.resolution} is no multiple of model.grid="
                f"{self.model.grid} tokens a side"
            )
