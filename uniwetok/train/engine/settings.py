"""Settings that the training runs of all three models have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from uniwetok.fields import Settings, check_count
from uniwetok.train import TrainingError

Precision = Literal["auto", "float32", "bfloat16", "float16"]
EncodingPrecision = Literal["float32", "bfloat16", "float16"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Settings):
    """An optimiser; defaults are the tokenizer's and the discriminator's (paper, Tab. 14-33)."""

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
        super().__post_init__()
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
class RunSettings(Settings):
    """One training run, apart from its model and data."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """One for each trained network."""
    batch_size: int = 1
    """Examples of one step over all processes: images, or rows of packed sequences."""
    steps: int = 100_000
    """Steps of the whole run."""
    ema_decay: float = 0.0
    """Decay of the EMA of the weights, which is evaluated and exported; it is updated every step. 0
    keeps no EMA: the weights themselves are exported."""
    precision: Precision = "auto"
    """Precision of the forward and backward passes; weights and optimisers stay in float32. "auto"
    is bfloat16 on a processor that has units for it, else float32; a run that is resumed keeps what
    it began with. Paper: silent. Released: bfloat16, on such GPUs."""
    compile: bool | None = None
    """Compile the large parts of the networks, whose first steps wait for it. None does where the
    machine suits it: on GPUs that Triton compiles for, with it and a C compiler at hand. Losses are
    those without within rounding."""
    shard: bool = False
    """Shard weights, gradients and optimiser state over the processes (FSDP) instead of copying
    them (DDP)."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of each block of the networks, and run it again for its gradients: less
    memory and more work for the same bits."""
    init: str | None = None
    """Weights to start from, such as the previous stage's; None draws them anew."""
    seed: int = 0
    """Seed of everything random: new weights, order of the data, crops, noise."""
    log_every: int = 50
    """Steps between lines of the log."""
    checkpoint_every: int = 1000
    """Steps between checkpoints: at most these are lost when a run is killed."""
    keep_last: int = 2
    """How many of the last checkpoints are kept."""
    keep_every: int = 0
    """Checkpoints after multiples of so many steps are kept for good; 0 keeps none of them."""

    validate_every: int = 0
    """Steps between validations; 0 makes none."""

    # What `ImageRunSettings` lets a run choose; not fields here, so that nobody can set them.
    accumulation = 1
    grid_every = 0
    unit = "tokens"
    """What throughput counts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "batch_size",
            "steps",
            "accumulation",
            "log_every",
            "checkpoint_every",
            "keep_last",
        ):
            check_count(name, getattr(self, name))
        for name in ("grid_every", "validate_every", "keep_every", "seed"):
            check_count(name, getattr(self, name), 0)
        if self.init is not None and not self.init.strip():
            raise ValueError("init is empty: name the weights to start from, or init=none")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay} must be in [0, 1)")
        if self.keep_every % self.checkpoint_every:
            raise ValueError(
                f"keep_every={self.keep_every} must be a multiple of "
                f"checkpoint_every={self.checkpoint_every}"
            )


@dataclass(frozen=True, kw_only=True)
class ImageRunSettings(RunSettings):
    """One training run on images, which can be looked at and evaluated along the way."""

    unit = "images"

    accumulation: int = 1
    """Passes whose gradients make one step."""
    grid_every: int = 1000
    """Steps between pictures of what the averaged model does; 0 makes none."""


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
