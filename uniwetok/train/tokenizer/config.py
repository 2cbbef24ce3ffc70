"""Settings of a training run of the tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field

from uniwetok.losses.config import PriorConfig, TokenizerLossConfig
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train.data.config import DataConfig
from uniwetok.train.engine.settings import ImageRunSettings

PAPER_TEACHER = "ViT-SO400M-16-SigLIP2-384"
TEACHER_TAG = "webli"
LITE_TEACHER = "efficientnet-lite0"


@dataclass(frozen=True, kw_only=True)
class TokenizerTraining(ImageRunSettings):
    """One training run of the tokenizer; the defaults are the paper's ImageNet runs (Tab. 16)."""

    model: UniWeTokConfig = field(default_factory=UniWeTokConfig)
    """Sizes of the autoencoder."""
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    """Weights and choices of the losses."""
    prior: PriorConfig | None = field(default_factory=PriorConfig)
    """Generative-Aware Prior; None trains without (paper, Tab. 14, 15)."""
    teacher: str = PAPER_TEACHER
    """Teacher of distillation: an open_clip model, or "efficientnet-lite0", a small stand-in."""
    data: DataConfig = field(default_factory=DataConfig)
    """Where images come from and how they are cut."""
    batch_size: int = 128
    """Images of one step over all processes. Paper: 128, or 1024."""
    steps: int = 250_250
    """Paper: 250,250, 25 epochs of ImageNet at 128."""
    freeze_encoder: bool = False
    """Train the decoder alone: codes stay as ``init`` gives them, and what was trained on them, a
    class-to-image model say, goes on drawing with the new decoder."""
    ema_decay: float = 0.999
    """Decay of the EMA of the weights, which is evaluated and exported. Paper: on. Released:
    0.999."""
    validate_every: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freeze_encoder and self.init is None:
            raise ValueError("freeze_encoder needs init: an encoder with trained weights")
        step, least = self.model.downsample, self.model.min_image_size
        # With buckets too a plan is of images of the resolution, whose pixels are a step's measure.
        sizes = (*(self.data.buckets or ()), (self.data.resolution, self.data.resolution))
        for side in (side for size in sizes for side in size):
            if side % step or side < least:
                raise ValueError(
                    f"images of {side} pixels: this tokenizer trains on sides that are multiples "
                    f"of {step} and at least {least}"
                )
