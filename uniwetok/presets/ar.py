"""The paper's class-to-image models, Tab. 9."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uniwetok.ar.config import BitDanceConfig
from uniwetok.presets.preset import IMAGENET
from uniwetok.train.ar.config import ARTraining
from uniwetok.train.overrides import to_dict

_OPEN = (
    "The paper follows BitDance and prints no training settings: they are those of its released "
    "training, over 400 epochs, which are the paper's 33B tokens, in place of 800."
)
_TOKENIZER = (
    "The paper does not say which tokenizer: Tab. 9's B has the gFID of Tab. 1, whose tokenizer is "
    "table16."
)


@dataclass(frozen=True, kw_only=True)
class ARPreset:
    """A training run of the class-to-image model under a name."""

    name: str
    """What `--preset` takes."""
    title: str
    """What it trains, in one line."""
    config: ARTraining
    """All settings."""
    source: str = "Tab. 9"
    """Where the paper describes it."""
    data: str = IMAGENET
    """Images it was trained on, in the paper's words."""
    notes: tuple[str, ...] = (_OPEN, _TOKENIZER)
    """What the paper leaves open, and what is done about it here."""
    needs: tuple[str, ...] = ()
    """Settings that have no default."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values."""
        return to_dict(self.config)

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


AR = (_preset("b", "242M"), _preset("l", "527M"), _preset("h", "1.0B"))
