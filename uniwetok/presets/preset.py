"""What a preset is, and its settings in the words of the paper's tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from uniwetok.losses.config import PriorConfig
from uniwetok.train.engine.overrides import to_dict
from uniwetok.train.tokenizer.config import TokenizerTraining

C = TypeVar("C")
IMAGENET = "IN-1K training set"
DATACOMP = "DataComp-1B"
NOTHING = "-"
"""What the paper's tables print for a part that is not there."""


@dataclass(frozen=True, kw_only=True)
class BasePreset(Generic[C]):
    """A training run under a name, whatever it trains."""

    name: str
    """What `--preset` takes."""
    title: str
    """What it trains, in one line."""
    source: str
    """Where the paper describes it."""
    data: str
    """What it was trained on, in the paper's words; for people, `--data` says where it is."""
    config: C
    """All settings."""
    notes: tuple[str, ...] = ()
    """What the paper leaves open or contradicts, and what is done about it here."""
    needs: tuple[str, ...] = ()
    """Settings that have no default: each must be given with `--set`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values."""
        return to_dict(self.config)


@dataclass(frozen=True, kw_only=True)
class Preset(BasePreset[TokenizerTraining]):
    """A training run of the tokenizer."""

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words and order of the paper's tables (Tab. 14-33)."""
        config = self.config
        model, optimizer, data = config.model, config.optimizer, config.data
        distillation, prior = config.loss.distillation, config.prior
        sizes = data.buckets or ((data.resolution, data.resolution),)
        return {
            "training data": self.data,
            **({"mixture": list(data.mixture)} if data.mixture else {}),
            "image size": list(sizes[0]) if len(sizes) == 1 else [list(size) for size in sizes],
            "data augmentation": f"{data.crop} crop",
            "downsample": [model.downsample, model.downsample],
            "ema": config.ema_decay > 0,
            "group number": model.groups,
            "group channel": model.bits_per_group,
            "optimizer": "Adam",
            "optimizer momentum": list(optimizer.betas),
            "weight decay": optimizer.weight_decay,
            "learning rate schedule": {"constant": "consistent"}.get(
                optimizer.schedule, optimizer.schedule
            ),
            "learning rate": optimizer.learning_rate,
            "warmup steps": optimizer.warmup_steps,
            "cos decay end ratio": optimizer.final_ratio,
            "total steps": config.steps,
            "channel_mult": list(model.channel_multipliers),
            "channel": model.channels,
            "num_res_blocks": model.num_res_blocks,
            "bottleneck channel double": model.bottleneck == "double",
            "num_attn_blocks": model.attention_blocks,
            "generative decoder": model.generative,
            "semantic teacher": config.teacher if distillation else NOTHING,
            "SigLu activation": model.siglu,
            "pre distillation": bool(distillation and distillation.pre),
            "post distillation": bool(distillation and distillation.post),
            "distill head": distillation.head if distillation else NOTHING,
            "prior model": _prior_name(prior),
            "query token": bool(prior and prior.query),
            "global batchsize": config.batch_size,
        }


def _prior_name(prior: PriorConfig | None) -> str:
    if prior is None:
        return NOTHING
    own = ("weight", "query", "objective", "detach_target", "detach_context", "repeats")
    sizes = PriorConfig(**{name: getattr(prior, name) for name in own})
    return "BitDance-T" if prior == sizes else f"BitDance, {prior.layers} x {prior.width}"
