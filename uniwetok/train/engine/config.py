"""Settings of a training run of the tokenizer, and what those of every recipe have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from uniwetok.losses.config import PriorConfig, TokenizerLossConfig
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train.data.config import DataConfig
from uniwetok.train.engine.errors import TrainingError

if TYPE_CHECKING:
    from uniwetok.train.engine.trainer import RunConfig

Precision = Literal["float32", "bfloat16", "float16"]
Schedule = Literal["constant", "cosine"]
PAPER_TEACHER = "ViT-SO400M-16-SigLIP2-384"
TEACHER_TAG = "webli"
LITE_TEACHER = "efficientnet-lite0"


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """An optimiser; the defaults are the tokenizer's and the discriminator's (paper, Tab. 14-33).

    Raises:
        ValueError: a value is impossible; the message names the field, its value and the fix.
    """

    learning_rate: float = 1e-4
    """Paper: 1e-4."""
    betas: tuple[float, float] = (0.5, 0.9)
    """Paper: 0.5, 0.9."""
    weight_decay: float = 0.0
    """Paper: 0."""
    epsilon: float = 1e-8
    """Added to the root of the second moment. Paper: silent. Released: torch's 1e-8."""
    schedule: Schedule = "constant"
    """After the warm-up: "constant", which the paper's tables call "consistent", or "cosine" down
    to ``final_ratio``."""
    warmup_steps: int = 0
    """Steps of linear warm-up. Paper: 0."""
    final_ratio: float = 1.0
    """Learning rate at the last step of "cosine" over ``learning_rate``. Paper: 1, which has no
    effect under its constant schedule."""
    max_gradient_norm: float | None = None
    """Clips gradients of either optimiser; None does not. Paper: silent. Released: none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.schedule not in get_args(Schedule):
            raise ValueError(f"schedule={self.schedule!r} is unknown; choose constant or cosine")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate} must be above 0")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas} must be two numbers in [0, 1)")
        if not self.epsilon > 0:
            raise ValueError(f"epsilon={self.epsilon} must be above 0")
        if self.weight_decay < 0 or self.warmup_steps < 0 or not 0 <= self.final_ratio <= 1:
            raise ValueError(
                f"weight_decay={self.weight_decay} and warmup_steps={self.warmup_steps} must not "
                f"be negative, final_ratio={self.final_ratio} must be in 0..1"
            )
        if self.max_gradient_norm is not None and not self.max_gradient_norm > 0:
            raise ValueError(
                f"max_gradient_norm={self.max_gradient_norm} must be above 0, or None for no limit"
            )


@dataclass(frozen=True, kw_only=True)
class TokenizerTraining:
    """One training run of the tokenizer; the defaults are the paper's ImageNet runs (Tab. 16).

    Raises:
        ValueError: a value is impossible; the message names the field, its value and the fix.
    """

    model: UniWeTokConfig = field(default_factory=UniWeTokConfig)
    """Sizes of the autoencoder."""
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    """Weights and choices of the losses."""
    prior: PriorConfig | None = field(default_factory=PriorConfig)
    """Generative-Aware Prior; None trains without (paper, Tab. 14, 15)."""
    teacher: str = PAPER_TEACHER
    """Of the distillation: an open_clip model, or "efficientnet-lite0", a small stand-in."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Of tokenizer and discriminator, one each."""
    data: DataConfig = field(default_factory=DataConfig)
    """Where images come from and how they are cut."""
    batch_size: int = 128
    """Images of one step over all processes. Paper: 128, or 1024."""
    steps: int = 250_250
    """Paper: 250,250, 25 epochs of ImageNet at 128."""
    ema_decay: float = 0.999
    """Of the moving average of the weights that is evaluated, updated every step. Paper: on.
    Released: 0.999."""
    precision: Precision = "bfloat16"
    """Of the forward and backward passes; weights and optimisers stay in float32. Paper: silent."""
    accumulation: int = 1
    """Passes whose gradients make one step."""
    compile: bool = False
    """Compile encoder and decoder."""
    shard: bool = False
    """Shard weights, gradients and optimiser state over the processes (FSDP) instead of copying
    them (DDP)."""
    init: str | None = None
    """Weights to start from, such as the previous stage's; None draws them anew."""
    seed: int = 0
    """Of weights, order of the images, crops and noise."""
    log_every: int = 50
    """Steps between lines of the log."""
    checkpoint_every: int = 1000
    """Steps between checkpoints: at most these are lost when a run is killed."""
    grid_every: int = 1000
    """Steps between pictures of reconstructions; 0 makes none."""
    validate_every: int = 10_000
    """Steps between validations; 0 makes none."""

    def __post_init__(self) -> None:
        check_run(self)
        self._check_sizes()

    def _check_sizes(self) -> None:
        step, least = self.model.downsample, self.model.min_image_size
        sizes = self.data.buckets or ((self.data.resolution, self.data.resolution),)
        for side in (side for size in sizes for side in size):
            if side % step or side < least:
                raise ValueError(
                    f"images of {side} pixels: this tokenizer trains on sides that are multiples "
                    f"of {step} and at least {least}"
                )


def check_run(config: RunConfig) -> None:
    """Check the settings that every recipe has.

    Raises:
        ValueError: a value is impossible; the message names the field, its value and the fix.
    """
    if config.precision not in get_args(Precision):
        raise ValueError(
            f"precision={config.precision!r} is unknown; choose one of "
            f"{', '.join(get_args(Precision))}"
        )
    for name in ("batch_size", "steps", "accumulation", "log_every", "checkpoint_every"):
        _check_count(config, name, minimum=1)
    for name in ("grid_every", "validate_every", "seed"):
        _check_count(config, name, minimum=0)
    if not 0 <= config.ema_decay < 1:
        raise ValueError(f"ema_decay={config.ema_decay} must be in [0, 1)")


def _check_count(config: object, name: str, minimum: int) -> None:
    value = getattr(config, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {minimum}")


def check_division(config: TokenizerTraining, world: int) -> None:
    """Make sure that a batch splits into equal parts, where images have one size.

    Raises:
        TrainingError: it does not; the message names the nearest sizes that do.
    """
    if not config.data.buckets:
        check_parts(config.batch_size, config.accumulation, world)


def check_parts(batch_size: int, accumulation: int, world: int) -> None:
    """Make sure that a batch splits into equal parts.

    Raises:
        TrainingError: it does not; the message names the nearest sizes that do.
    """
    parts = world * accumulation
    if batch_size % parts:
        lower = batch_size // parts * parts
        raise TrainingError(
            f"batch_size={batch_size} does not divide among {world} processes with "
            f"accumulation={accumulation}; use {lower or parts} or {lower + parts}"
        )
