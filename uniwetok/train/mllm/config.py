"""Settings of a training run of the multimodal model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from uniwetok.fields import check_choice
from uniwetok.mllm.config import MLLMConfig
from uniwetok.train.engine.settings import OptimizerConfig, RunSettings
from uniwetok.train.mllm.data.config import SequenceData

Attention = Literal["auto", "flex_attention", "sdpa", "eager"]


def released_optimizer() -> OptimizerConfig:
    """AdamW as BitDance's multimodal training releases it: constant 1e-5 after 2,000 steps."""
    return OptimizerConfig(
        learning_rate=1e-5,
        betas=(0.9, 0.95),
        epsilon=1e-15,
        warmup_steps=2000,
        max_gradient_norm=1.0,
    )


@dataclass(frozen=True, kw_only=True)
class MLLMTraining(RunSettings):
    """One training run of the multimodal model; the defaults are the paper's size (Section 4.2).

    The paper follows BitDance and prints no training settings: they are its released ones.

    Raises:
        ValueError: a value is impossible; the message names the field, its value and the fix.
    """

    model: MLLMConfig = field(default_factory=MLLMConfig)
    """Sizes around the language model, and the objective; where ``init`` names a model, its own
    sizes must be the same."""
    language_model: str = "Qwen/Qwen3-8B"
    """Text model to start from: a local folder or a name on the Hugging Face Hub (paper:
    Qwen3-8B). Not used where ``init`` names the folder of a multimodal one."""
    optimizer: OptimizerConfig = field(default_factory=released_optimizer)
    """AdamW; see `released_optimizer`."""
    data: SequenceData = field(default_factory=SequenceData)
    """How records become packed sequences."""
    batch_size: int = 8
    """Rows of one step over all processes, each of up to ``data.row_tokens``; a process passes its
    rows one by one. Neither paper nor release says how many."""
    steps: int = 100_000
    """Neither paper nor release says how many."""
    ema_decay: float = 0.0
    """Decay of the EMA of the weights, which is exported then; 0 keeps none. Released: none for
    this model."""
    attention: Attention = "auto"
    """Implementation of the language model's attention: ``auto`` is flex_attention on GPUs, whose
    masks of long rows take no memory, and sdpa on CPUs."""
    gradient_checkpointing: bool = True
    """Keep only the inputs of each of the language model's layers, and run it again for its
    gradients."""
    log_every: int = 20
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("attention", self.attention, get_args(Attention))
