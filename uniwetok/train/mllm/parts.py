"""What a run starts from: a language model or an earlier run's model, and the tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from uniwetok.mllm import checkpoint
from uniwetok.mllm.assistant import Assistant
from uniwetok.mllm.checkpoint import image_tokenizer_path
from uniwetok.mllm.config import MLLMConfig, MLLMError
from uniwetok.mllm.model import MLLM
from uniwetok.randomness import stream_seed
from uniwetok.tensors import CheckpointError, first_line
from uniwetok.tokenizer import UniWeTok
from uniwetok.train import TrainingError
from uniwetok.train.mllm.config import MLLMTraining
from uwt_images.hub import HubError, snapshot

_SIZES = (
    "width",
    "latent_channels",
    "downsample",
    "max_side",
    "parallel_tokens",
    "diffusion_width",
    "diffusion_blocks",
    "diffusion_modulations",
)
"""Fields that weights depend on; the others are of the objective and may change."""
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_NEEDED = ("config.json", "*.safetensors", "tokenizer_config.json")
SUITABLE = (
    "give a causal language model's Hugging Face folder with config.json, safetensors and a "
    "tokenizer, or a name on the Hub, such as Qwen/Qwen3-8B"
)
"""Ends the message about a language model that is none."""


def load_parts(config: MLLMTraining, tokenizer: Path | None, *, on_gpu: bool) -> Assistant:
    """Load what a run starts from, on the CPU, the same in every process.

    The image tokenizer is frozen.

    Args:
        config: the run.
        tokenizer: weights of the image tokenizer; those in ``config.init``'s folder if None.
        on_gpu: whether it will be trained on a GPU, for the choice of attention.

    Raises:
        TrainingError: a part is missing, damaged or does not fit the others.
    """
    attention = config.attention
    if attention == "auto":
        attention = "flex_attention" if on_gpu else "sdpa"
    try:
        if config.init is not None:
            model, text = _earlier(Path(config.init), config.model, attention)
        else:
            model, text = _fresh(config, attention)
        images = _image_tokenizer(config, tokenizer).eval().requires_grad_(False)
        parts = Assistant(model, text, images)
    except (MLLMError, CheckpointError) as error:
        raise TrainingError(str(error)) from error
    if config.data.row_tokens > model.context:
        raise TrainingError(
            f"data.row_tokens={config.data.row_tokens:,} is above the language model's context of "
            f"{model.context:,} tokens; --set data.row_tokens={model.context}"
        )
    return parts


def with_weights(parts: Assistant, weights: Mapping[str, Tensor]) -> Assistant:
    """Build a model of the same sizes with other weights, to be saved."""
    language_model = parts.model.language_model
    with torch.device("meta"):
        copy = type(language_model)(language_model.config)
        model = MLLM(copy, parts.model.config)
    # Tied weights have one name only.
    model.load_state_dict(weights, strict=False, assign=True)
    copy.tie_weights()
    return Assistant(model, parts.text, parts.images)


def _image_tokenizer(config: MLLMTraining, path: Path | None) -> UniWeTok:
    if path is None and config.init is None:
        raise TrainingError("--tokenizer is missing: images are encoded with its frozen weights")
    place = path if config.init is None else image_tokenizer_path(Path(config.init), path)
    assert place is not None
    return UniWeTok.from_checkpoint(place)


def _fresh(config: MLLMTraining, attention: str) -> tuple[MLLM, PreTrainedTokenizerBase]:
    """Put an untrained projector and head around a language model."""
    folder = find_language_model(config.language_model)
    text = checkpoint.load_text_tokenizer(folder)
    torch.manual_seed(stream_seed(config.seed, "weights"))
    language_model = checkpoint.load_language_model(folder, torch.float32, attention)
    width = language_model.config.get_text_config().hidden_size
    if width != config.model.width:
        raise TrainingError(
            f"{config.language_model}: this language model is {width} wide, the settings say "
            f"model.width={config.model.width}; --set model.width={width}"
        )
    return MLLM.build(language_model, text, config.model), text


def _earlier(
    folder: Path, wanted: MLLMConfig, attention: str
) -> tuple[MLLM, PreTrainedTokenizerBase]:
    """Start from an earlier run's model, with this run's objective."""
    before = MLLM.from_pretrained(folder, attention=attention)
    for name in _SIZES:
        found, asked = getattr(before.config, name), getattr(wanted, name)
        if found != asked:
            raise TrainingError(
                f"init={folder}: this model has {name}={found}, the settings say {asked}; "
                f"--set model.{name}={found}"
            )
    if before.config == wanted:
        return before, checkpoint.load_text_tokenizer(folder)
    with torch.device("meta"):
        model = MLLM(before.language_model, wanted)
    model.projector = before.projector
    model.vision_head.load_state_dict(before.vision_head.state_dict(), assign=True)
    return model, checkpoint.load_text_tokenizer(folder)


def read_sizes(folder: Path, given: str) -> PretrainedConfig:
    """Read a language model's sizes, without its weights.

    Args:
        folder: its folder.
        given: how it was named, for the message.

    Raises:
        TrainingError: its config.json cannot be read, or is of no causal language model.
    """
    try:
        sizes: PretrainedConfig = AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError) as error:
        path = folder / "config.json"
        why = f"cannot be read ({first_line(error)})" if path.is_file() else "is not there"
        raise TrainingError(f"{given}: its config.json {why}; {SUITABLE}") from error
    # BERT and its kin have a causal form too, as decoders, and their configuration then says so.
    encodes = type(sizes) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(sizes, "is_decoder", False)
    if type(sizes) not in MODEL_FOR_CAUSAL_LM_MAPPING or encodes or sizes.is_encoder_decoder:
        raise TrainingError(
            f"{given}: a model of type {sizes.model_type!r} is no causal language model, or "
            f"has learned to read both ways; {SUITABLE}"
        )
    return sizes


def find_language_model(name: str) -> Path:
    """Give the folder of a text model, which may be downloaded.

    Raises:
        TrainingError: there is neither such a folder nor such a name on the Hub, or it lacks files.
    """
    place = Path(name).expanduser()
    if place.exists():
        lacking = [wanted for wanted in _NEEDED if not any(place.glob(wanted))]
        if lacking:
            what = f"this folder has no {', no '.join(lacking)}" if place.is_dir() else "no folder"
            raise TrainingError(f"--language-model {name}: {what}; {SUITABLE}")
    else:
        try:
            place = snapshot(name, _FILES)
        except HubError as error:
            raise TrainingError(
                f"--language-model {error}; give the path of a folder that holds it"
            ) from error
    read_sizes(place, f"--language-model {name}")
    return place
