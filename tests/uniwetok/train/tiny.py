"""A run of the tokenizer's training that is small enough for tests."""

from __future__ import annotations

import pytest
import torch

from uniwetok.losses.config import AdversarialConfig, PriorConfig, TokenizerLossConfig
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train.data.config import DataConfig
from uniwetok.train.engine.settings import OptimizerConfig
from uniwetok.train.tokenizer.config import TokenizerTraining

needs_measuring = pytest.mark.skipif(
    torch.version.cuda is not None and torch.__version__ < "2.10" and not torch.cuda.is_available(),
    reason="torch before 2.10, built for CUDA, measures memory only where there is a GPU",
)
needs_sharding = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="this torch shards on GPUs alone"
)
TINY = TokenizerTraining(
    model=UniWeTokConfig(
        channels=32,
        channel_multipliers=(1, 1, 1),
        num_res_blocks=1,
        attention_blocks=1,
        heads=2,
        latent_channels=16,
        groups=2,
    ),
    loss=TokenizerLossConfig(lpips_weight=0, distillation=None, adversarial=AdversarialConfig()),
    prior=PriorConfig(width=32, heads=2, layers=1, diffusion_width=32, diffusion_blocks=1),
    optimizer=OptimizerConfig(learning_rate=1e-3),
    data=DataConfig(resolution=32, workers=0),
    batch_size=4,
    steps=6,
    precision="float32",
    compile=False,
    log_every=2,
    checkpoint_every=2,
    grid_every=0,
    validate_every=0,
)
"""Every loss that needs no downloaded weights."""
