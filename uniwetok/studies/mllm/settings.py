"""How large the nano model is, and how much is trained and measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from uniwetok.losses.config import EntropyConfig
from uniwetok.mllm.config import MLLMConfig
from uniwetok.nano import WEIGHTS
from uniwetok.presets import get
from uniwetok.studies.mllm.shapes import SIDE
from uniwetok.studies.settings import require_counts
from uniwetok.tensors import CONFIG_FILE
from uniwetok.tokenizer.checkpoint import read_config
from uniwetok.train.data.config import DataConfig
from uniwetok.train.engine.settings import OptimizerConfig
from uniwetok.train.mllm.config import MLLMTraining, SequenceData
from uniwetok.train.tokenizer.config import TokenizerTraining

WIDTH = 192
LANGUAGE_MODEL = {
    "hidden_size": WIDTH,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
"""Arguments of ``transformers.Qwen3Config``; its weights start at random."""


@dataclass(frozen=True, kw_only=True)
class MiniMLLMSettings:
    """How much is trained and measured.

    Raises:
        TrainingError: a value is impossible; the message names the field, its value and the fix.
    """

    tokenizer_steps: int = 1500
    """Training steps of the image tokenizer."""
    steps: int = 3000
    """Training steps of the multimodal model."""
    questions: int = 1200
    """Held-out questions that are asked."""
    drawings: int = 10
    """Pictures that are drawn of each of the 24 captions."""
    edits: int = 120
    """Held-out pictures that are recoloured, and as many whose shape is removed."""

    def __post_init__(self) -> None:
        require_counts(self, *vars(self))

    def tokenizer(self, seed: int) -> TokenizerTraining:
        """Give the finetuning of uniwetok-nano: 64 pixels become 2x2 tokens of 128 bits."""
        nano = get("nano").config
        return replace(
            nano,
            model=read_config(WEIGHTS / CONFIG_FILE),
            loss=replace(nano.loss, entropy=EntropyConfig(weight=0.02)),
            optimizer=replace(nano.optimizer, learning_rate=2e-3),
            data=DataConfig(resolution=SIDE, workers=0),
            batch_size=4,
            steps=self.tokenizer_steps,
            init=str(WEIGHTS),
            ema_decay=0.99,
            precision="float32",
            seed=seed,
            checkpoint_every=1000,
            grid_every=250,
            validate_every=0,
        )

    def mllm(self, language_model: Path, seed: int) -> MLLMTraining:
        """Give the training of the multimodal model: all tasks at once."""
        return MLLMTraining(
            model=MLLMConfig(
                width=WIDTH,
                max_side=SIDE * 2,
                diffusion_width=256,
                diffusion_blocks=3,
                diffusion_modulations=1,
                loss_repeats=4,
                text_weight=1.0,
            ),
            language_model=str(language_model),
            optimizer=OptimizerConfig(
                learning_rate=1e-3,
                betas=(0.9, 0.95),
                weight_decay=0.05,
                schedule="cosine",
                warmup_steps=50,
                final_ratio=0.02,
                max_gradient_norm=1.0,
            ),
            data=SequenceData(row_tokens=512, image_area=SIDE * SIDE, workers=0),
            batch_size=1,
            steps=self.steps,
            ema_decay=0.99,
            precision="float32",
            gradient_checkpointing=False,
            seed=seed,
            log_every=50,
            checkpoint_every=500,
        )
