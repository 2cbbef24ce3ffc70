"""Settings of a training run of the class-to-image model."""

from __future__ import annotations

from dataclasses import dataclass, field

from uniwetok.ar.config import BitDanceConfig
from uniwetok.train.codes.config import CodesConfig
from uniwetok.train.engine.settings import ImageRunSettings, OptimizerConfig

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
class ARTraining(ImageRunSettings):
    """One training run of the class-to-image model; the defaults are UniWeTok-B's (paper, Tab. 9).

    Where the paper is silent they are those of the released training of BitDance.

    Raises:
        ValueError: a value is impossible; the message names the field, its value and the fix.
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
    """Steps between lines of the log."""
    checkpoint_every: int = 2500
    """Steps between checkpoints: at most these are lost when a run is killed."""
    grid_every: int = 10_000
    """Steps between pictures of samples; 0 makes none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.resolution % self.model.grid:
            raise ValueError(
                f"data.resolution={self.data.resolution} is no multiple of model.grid="
                f"{self.model.grid} tokens a side"
            )
