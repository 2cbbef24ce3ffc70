"""Settings of a training run of the multimodal model: how records become rows, and the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from uniwetok.fields import check_count, check_share
from uniwetok.mllm.config import MLLMConfig
from uniwetok.train.data.config import ReadingConfig
from uniwetok.train.engine.settings import EncodingPrecision, OptimizerConfig, RunSettings
from uniwetok.train.mllm.data.records import KINDS, Kind

OverLong = Literal["skip", "refuse"]
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
class SequenceData(ReadingConfig):
    """Sequences of a training run; the defaults are those of BitDance's released training."""

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
    precision: EncodingPrecision = "float32"
    """Precision that images are encoded in, see the class-to-image model's `CodesConfig`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "kinds", tuple(self.kinds))
        for name, least in (("row_tokens", 16), ("image_area", 1)):
            check_count(name, getattr(self, name), least)
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"kinds={self.kinds}: give some of {', '.join(KINDS)}")
        for name in ("condition_dropout", "source_dropout", "describe_share"):
            check_share(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class MLLMTraining(RunSettings):
    """One training run of the multimodal model; the defaults are the paper's size (Section 4.2).

    The paper follows BitDance and prints no training settings: they are its released ones.
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
    """Keep only the inputs of each of the language model's layers and the diffusion head's blocks,
    and run it again for its gradients."""
    log_every: int = 20
