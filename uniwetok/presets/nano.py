"""The small tokenizer that ships with this package, trained on a CPU."""

from __future__ import annotations

from uniwetok.losses.config import TokenizerLossConfig
from uniwetok.presets.preset import Preset
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train.data.config import DataConfig
from uniwetok.train.engine.settings import OptimizerConfig
from uniwetok.train.tokenizer.config import TokenizerTraining

NANO = Preset(
    name="nano",
    title="uniwetok-nano: 5.9 M parameters at the paper's rate, for CPUs",
    source="ours, see docs/nano.md",
    data="photographs from Debian's packages, see docs/nano.md",
    config=TokenizerTraining(
        model=UniWeTokConfig(
            channels=32,
            channel_multipliers=(1, 1, 2, 2, 4, 6),
            num_res_blocks=0,
            attention_blocks=4,
            heads=3,
        ),
        loss=TokenizerLossConfig(lpips_weight=0, adversarial=None, distillation=None),
        prior=None,
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            betas=(0.9, 0.99),
            schedule="cosine",
            warmup_steps=50,
            final_ratio=0.02,
        ),
        data=DataConfig(resolution=128, buckets=((128, 128), (192, 192), (256, 256)), workers=1),
        batch_size=16,
        steps=6000,
        log_every=50,
        checkpoint_every=250,
        grid_every=1000,
        validate_every=1000,
    ),
    notes=(
        "The paper's tokens, 64 of 128 bits for 256x256 pixels, and its transformer-only backbone "
        "(Tab. 32): residual blocks at full resolution would take most of a CPU's time.",
        "L1 and the entropy losses alone: the weights of LPIPS must be downloaded, and a "
        "discriminator and a teacher would take most of a CPU's time.",
    ),
)
