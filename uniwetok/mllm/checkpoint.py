"""Folders of a multimodal model, own or released: a Hugging Face folder with three parts beside it.

Nothing in a folder is executed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniwetok.files import read_json, replaced, write_json
from uniwetok.mllm.config import MLLMConfig
from uniwetok.tensors import (
    CheckpointError,
    check_finite,
    first_line,
    read_shapes,
    read_tensors,
    shapes,
    weights_in,
    write_tensors,
)
from uniwetok.tokenizer import checkpoint as files
from uniwetok.weights import count, faults, listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HEAD_WEIGHTS, HEAD_CONFIG = "vision_head.safetensors", "vision_head_config.json"
PROJECTOR_WEIGHTS = "projector.safetensors"
CONFIG_FILE = "mllm_config.json"
"""What the released folders do not say."""
_SUFFIXES = {".json", ".safetensors", ".jinja", ".txt", ".model"}
_PLAIN_TOKENIZERS = {"TokenizersBackend", "PreTrainedTokenizerFast"}
_RELEASED_NAMES = {
    "ch_target": "latent_channels",
    "ch_cond": "width",
    "ch_latent": "diffusion_width",
    "depth_latent": "diffusion_blocks",
    "depth_adanln": "diffusion_modulations",
    "parallel_num": "parallel_tokens",
    "diff_batch_mul": "loss_repeats",
    "P_mean": "time_mean",
    "P_std": "time_std",
}
_BUILT = {"use_swiglu": True, "time_schedule": "logit_normal", "time_shift": 1.0}
"""The values of the other released settings that any released folder has; only they are built."""


def parts(folder: Path) -> list[Path]:
    """List the files that decide what a model computes, but for the image tokenizer's."""
    of_images = {files.RELEASED_WEIGHTS_FILE, files.RELEASED_CONFIG_FILE}
    return sorted(
        path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.name not in of_images
    )


def read_config(folder: Path) -> MLLMConfig:
    """Read the configuration: ours where it is there, else what the released files say.

    Raises:
        CheckpointError: no such folder, or a file that is missing, damaged or of another kind.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    own = folder / CONFIG_FILE
    path = own if own.is_file() else folder / HEAD_CONFIG
    try:
        values = read_json(path)
        if path == own:
            return MLLMConfig.from_dict(values)
        return MLLMConfig(**_of_released(values), downsample=_downsample(folder))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: no multimodal model: {HEAD_CONFIG} is missing") from error
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: {first_line(error)}") from error


def describe(folder: Path) -> tuple[MLLMConfig, int]:
    """Give the configuration and the number of parameters; no weights are read.

    Tied parameters count once, for they are stored once.

    Raises:
        CheckpointError: a file is missing, damaged or of another kind; whether the weights fit the
            configuration is found out by loading them.
    """
    config = read_config(folder)
    parts = (weights_in(folder), folder / HEAD_WEIGHTS, folder / PROJECTOR_WEIGHTS)
    return config, sum(count(read_shapes(path)) for path in parts)


def _of_released(values: Mapping[str, Any]) -> dict[str, Any]:
    for name, only in _BUILT.items():
        if values.get(name, only) != only:
            raise ValueError(f"{name}={values[name]} is not supported, only {only}")
    return {ours: values[name] for name, ours in _RELEASED_NAMES.items() if name in values}


def _to_released(config: MLLMConfig) -> dict[str, Any]:
    values = {name: getattr(config, ours) for name, ours in _RELEASED_NAMES.items()}
    return {**values, **_BUILT}


def _downsample(folder: Path) -> int:
    """Read the pixels of a token off the image tokenizer's configuration; 32 without one."""
    path = folder / files.RELEASED_CONFIG_FILE
    if not path.is_file():
        return 32
    values = read_json(path)
    if "channel_multipliers" in values:
        return files.read_config(path).downsample
    sizes = values.get("ddconfig", values)
    return int(2 ** (len(sizes["ch_mult"]) - 1))


def image_tokenizer_path(folder: Path, elsewhere: str | Path | None) -> Path:
    """Find the image tokenizer's weights, in the folder or elsewhere.

    Raises:
        CheckpointError: they are in neither.
    """
    if elsewhere is not None:
        return Path(elsewhere)
    path = folder / files.RELEASED_WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: {files.RELEASED_WEIGHTS_FILE}, the image tokenizer, is missing: give the "
            f"path of the one the model was trained with"
        )
    return path


def load_language_model(folder: Path, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """Load the language model from its safetensors.

    Raises:
        CheckpointError: it cannot be read.
    """
    from transformers import AutoModelForCausalLM

    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: the language model cannot be read ({first_line(error)})"
        ) from error
    check_finite(folder, dict(model.named_parameters()))
    return model


def load_text_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the text tokenizer.

    Raises:
        CheckpointError: it cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        # Where a tokenizer is of no model's own class, the automatic choice goes by the language
        # model and may add tokens that this one never had.
        settings = read_json(folder / "tokenizer_config.json")
        plain = settings.get("tokenizer_class") in _PLAIN_TOKENIZERS
        kind = PreTrainedTokenizerFast if plain else AutoTokenizer
        tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder}: the text tokenizer cannot be read ({first_line(error)})"
        ) from error
    return tokenizer


def load_part(module: nn.Module, path: Path, dtype: torch.dtype) -> None:
    """Give a module on the meta device the weights of a file.

    Raises:
        CheckpointError: the file is missing, damaged or of other sizes.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    tensors = read_tensors(path)
    expected = shapes(module.state_dict())
    unfit = faults(shapes(tensors), expected)
    unfit += [f"{name} (not in the model)" for name in tensors if name not in expected]
    if unfit:
        raise CheckpointError(f"{path}: {listing(unfit)}")
    check_finite(path, tensors)
    module.load_state_dict({name: each.to(dtype) for name, each in tensors.items()}, assign=True)


def save(
    folder: Path,
    language_model: PreTrainedModel,
    config: MLLMConfig,
    head: Mapping[str, Tensor],
    projector: Mapping[str, Tensor],
) -> None:
    """Write a model's parts, each whole or not at all.

    Args:
        folder: made where it is not there.
        language_model: as given to the model.
        config: of the model.
        head: weights of the diffusion head.
        projector: weights of the projector.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as staging:
        language_model.save_pretrained(staging)
        for path in Path(staging).iterdir():
            with replaced(folder / path.name) as partial:
                path.replace(partial)
    write_tensors(folder / HEAD_WEIGHTS, head)
    write_tensors(folder / PROJECTOR_WEIGHTS, projector)
    write_json(folder / HEAD_CONFIG, _to_released(config))
    write_json(folder / CONFIG_FILE, config.to_dict())
