"""The paper's class-to-image models, Tab. 9, and the small one that ships with this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uniwetok.ar.config import BitDanceConfig
from uniwetok.presets.preset import IMAGENET, BasePreset
from uniwetok.train.ar.config import ARTraining, CodesConfig
from uniwetok.train.engine.settings import OptimizerConfig

_OPEN = (
    "The paper follows BitDance and prints no training settings: they are those of its released "
    "training, over 400 epochs, which are the paper's 33B tokens, in place of 800."
)
_TOKENIZER = (
    "The paper does not say which tokenizer: Tab. 9's B has the gFID of Tab. 1, whose tokenizer is "
    "table16."
)


@dataclass(frozen=True, kw_only=True)
class ARPreset(BasePreset[ARTraining]):
    """A training run of the class-to-image model."""

    source: str = "Tab. 9"
    data: str = IMAGENET
    notes: tuple[str, ...] = (_OPEN, _TOKENIZER)

    def settings(self) -> dict[str, Any]:
        """Return the settings that a publication would name."""
        config = self.config
        model, optimizer = config.model, config.optimizer
        return {
            "training data": self.data,
            "image size": [config.data.resolution] * 2,
            "data augmentation": f"crop {config.data.smallest_crop:g}-1, flip",
            "tokens": model.tokens,
            "bits a token": model.latent_channels,
            "class tokens": model.class_tokens,
            "layers": model.layers,
            "width": model.width,
            "heads": model.heads,
            "diffusion head": f"{model.diffusion_blocks} x {model.diffusion_width}",
            "label dropout": model.label_dropout,
            "bit flips": model.flip_rate,
            "optimizer": "AdamW",
            "optimizer momentum": list(optimizer.betas),
            "weight decay": optimizer.weight_decay,
            "learning rate schedule": optimizer.schedule,
            "learning rate": optimizer.learning_rate,
            "final learning rate": optimizer.learning_rate * optimizer.final_ratio,
            "warmup steps": optimizer.warmup_steps,
            "gradient clipping": optimizer.max_gradient_norm,
            "ema": config.ema_decay,
            "global batchsize": config.batch_size,
            "total steps": config.steps,
        }


def _preset(size: str, parameters: str) -> ARPreset:
    name = f"uniwetok-{size}"
    return ARPreset(
        name=name,
        title=f"class-to-image model {size.upper()}, {parameters} parameters, 33B tokens",
        config=ARTraining(model=BitDanceConfig.preset(name)),
    )


NANO_AR = ARPreset(
    name="nano-ar",
    title="uniwetok-ar-nano: 3.8M parameters on uniwetok-nano's codes",
    source="ours, see docs/nano.md",
    data="photographs from Debian's packages, in 55 classes by their file names",
    config=ARTraining(
        model=BitDanceConfig(
            width=256,
            layers=3,
            heads=4,
            diffusion_width=224,
            diffusion_blocks=2,
            diffusion_modulations=1,
            classes=55,
            class_tokens=8,
        ),
        optimizer=OptimizerConfig(
            learning_rate=1.5e-3,
            betas=(0.9, 0.95),
            weight_decay=0.01,
            schedule="cosine",
            warmup_steps=100,
            final_ratio=0.01,
            max_gradient_norm=1.0,
        ),
        data=CodesConfig(views=12, smallest_crop=0.9, center_from=0.5, center_until=0.7, workers=0),
        batch_size=64,
        steps=1944,
        ema_decay=0.998,
        log_every=50,
        checkpoint_every=250,
        grid_every=500,
    ),
    notes=(
        "The paper's tokens and objective at sizes that a CPU can train, too: fewer class "
        "tokens, since they would double the transformer's work.",
        "Four hundred epochs of 301 photographs: it repeats and mixes them.",
    ),
)

AR = (_preset("b", "242M"), _preset("l", "527M"), _preset("h", "1.0B"), NANO_AR)
