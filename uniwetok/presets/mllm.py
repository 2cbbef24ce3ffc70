"""The paper's multimodal model: its pretraining and its three finetunings, Section 4.2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from uniwetok.mllm.config import MLLMConfig
from uniwetok.presets.preset import BasePreset
from uniwetok.train.mllm.config import MLLMTraining, SequenceData

_OPEN = (
    "The paper prints no training settings and names no data: optimiser, weights of the losses, "
    "dropout and flips are those of BitDance's released multimodal training.",
    "Neither paper nor release says how many steps or rows a step: both are a guess.",
)
_INIT = "Starts from the pretrained model: --set init=runs/train/mllm-pretrain/model."


@dataclass(frozen=True, kw_only=True)
class MLLMPreset(BasePreset[MLLMTraining]):
    """A training run of the multimodal model; `--preset` takes its name also without "mllm-"."""

    source: str = "Section 4.2"
    notes: tuple[str, ...] = _OPEN

    def settings(self) -> dict[str, Any]:
        """Return the settings that a publication would name."""
        config = self.config
        model, optimizer, data = config.model, config.optimizer, config.data
        return {
            "training data": self.data,
            "language model": config.language_model,
            "packed tokens": data.row_tokens,
            "largest image area": data.image_area,
            "pixels a token": model.downsample,
            "bits a token": model.latent_channels,
            "tokens at a time": model.parallel_tokens,
            "diffusion head": f"{model.diffusion_blocks} x {model.diffusion_width}",
            "text loss weight": model.text_weight,
            "condition dropout": data.condition_dropout,
            "bit flips": model.flip_rate,
            "optimizer": "AdamW",
            "optimizer momentum": list(optimizer.betas),
            "optimizer epsilon": optimizer.epsilon,
            "weight decay": optimizer.weight_decay,
            "learning rate schedule": optimizer.schedule,
            "learning rate": optimizer.learning_rate,
            "warmup steps": optimizer.warmup_steps,
            "gradient clipping": optimizer.max_gradient_norm,
            "rows a step": config.batch_size,
            "total steps": config.steps,
        }


# Layers that are sharded and run again were compiled on processors alone so far: on eight GPUs
# it is to be asked for.
_PAPER = MLLMTraining(shard=True, compile=False)
_TUNED = replace(_PAPER, steps=20_000)

MLLM = (
    MLLMPreset(
        name="mllm-pretrain",
        title="unified pretraining on captions, documents, edits and conversations",
        data="text-image, interleaved, edit, chat",
        config=replace(_PAPER, data=SequenceData(describe_share=0.2)),
        notes=(
            *_OPEN,
            "A fifth of the captions is learned as the answer to their image, so that both "
            "directions are pretrained as in Emu3, which the paper follows; it gives no share.",
        ),
    ),
    MLLMPreset(
        name="mllm-gen",
        title="UniWeTok-Gen: finetuning to generate images",
        source="Section 4.2, Tab. 11",
        data="text-image",
        config=replace(_TUNED, data=SequenceData(kinds=("text-image",))),
        notes=(*_OPEN, _INIT),
    ),
    MLLMPreset(
        name="mllm-edit",
        title="UniWeTok-Edit: finetuning to edit images",
        source="Section 4.2, Tab. 13",
        data="edit, text-image",
        config=replace(_TUNED, data=SequenceData(kinds=("edit", "text-image"))),
        notes=(
            *_OPEN,
            _INIT,
            "Source images are left out as often as instructions are, for guidance by images.",
        ),
    ),
    MLLMPreset(
        name="mllm-chat",
        title="UniWeTok-Chat: finetuning to answer questions about images",
        source="Section 4.2, Tab. 12",
        data="chat",
        config=replace(
            _TUNED,
            model=MLLMConfig(text_weight=1.0),
            data=SequenceData(kinds=("chat",), condition_dropout=0.0, source_dropout=0.0),
        ),
        notes=(*_OPEN, _INIT, "The text's loss counts in full, for there is no other."),
    ),
)
