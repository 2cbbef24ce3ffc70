"""Finding and reading weights and configurations of BitDance, released or own."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from uniwetok.ar.config import BitDanceConfig
from uniwetok.tokenizer import checkpoint as files
from uniwetok.tokenizer.checkpoint import CheckpointError

NAMES_FILE = "classes.txt"
"""Beside weights: the names of their classes, one a line, where they are not ImageNet's."""
TOKENIZER_FILE = "tokenizer.json"
"""Beside weights: digest of the encoder whose codes they were trained on."""
_TOKENIZER_PREFIX = "vae."
_ASSUMED_HEAD_DIM = 64
_ENTRIES = ("ema", "model")


def locate(path: str | Path) -> tuple[Path, Path | None]:
    """Find the weights, and the configuration beside them if there is one.

    Args:
        path: a weights file, or a folder with ``model.safetensors``.

    Raises:
        CheckpointError: the path does not exist, or the folder holds no weights.
    """
    path = Path(path)
    if path.is_dir():
        path /= files.WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    config = path.with_name(files.CONFIG_FILE)
    return path, config if path.suffix == ".safetensors" and config.is_file() else None


def read_config(path: Path) -> BitDanceConfig:
    """Read a ``config.json``.

    Raises:
        CheckpointError: the file is unreadable, not JSON, or not a configuration.
    """
    try:
        return BitDanceConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a BitDance configuration: {files.first_line(error)}"
        ) from error


def read_weights(path: Path, *, ema: bool) -> tuple[dict[str, Tensor], bool]:
    """Read the named tensors of a ``.safetensors`` file or of a torch checkpoint, on the CPU.

    A released checkpoint holds raw weights under ``model`` and, if they were kept, their moving
    averages under ``ema``; both may be there beside the optimizer, or the tensors at the top.

    Args:
        path: the file.
        ema: prefer the averages.

    Returns:
        The tensors, and whether they are averages.

    Raises:
        CheckpointError: the file is corrupt or truncated, would run code, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        return files.read_tensors(path), False
    # The released training saves its command-line arguments too: plain values.
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = files.read_torch(path)
    if isinstance(content, Mapping):
        entries = [key for key in _ENTRIES if isinstance(content.get(key), Mapping)]
        entry = entries[0 if ema else -1] if entries else None
        state = content[entry] if entry else content
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors, entry == "ema"
    raise CheckpointError(f"{path}: holds no named tensors, at the top or under 'ema' or 'model'")


def select(
    tensors: Mapping[str, Tensor], names: files.Shapes
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Split what a file holds into the model's weights and the names it does not have.

    The released tokenizer (``vae.*``), which its checkpoints carry, is among the latter.
    """
    found = {name: tensors[name] for name in names if name in tensors}
    return found, tuple(name for name in tensors if name not in names)


def faults(tensors: Mapping[str, Tensor], expected: files.Shapes) -> list[str]:
    """Describe every name that is missing, unknown or of another shape.

    A name of the transformer or head that the model lacks is a fault, as it shows a checkpoint of
    another size; one of the tokenizer is not.
    """
    surplus = [
        f"{name} (not in the model)"
        for name in tensors
        if name not in expected and not name.startswith(_TOKENIZER_PREFIX)
    ]
    return files.faults(tensors, expected) + surplus


def describe(path: str | Path, *, ema: bool = True) -> tuple[BitDanceConfig, int]:
    """Give the configuration and the number of parameters; no weights are read.

    Raises:
        CheckpointError: a file is absent, damaged or unsafe; whether the weights fit the
            configuration is found out by loading them.
    """
    weights, beside = locate(path)
    if weights.suffix == ".safetensors":
        found = files.read_shapes(weights)
    else:  # Mapped into memory.
        found = files.shapes(read_weights(weights, ema=ema)[0])
    inferred = infer_config(found)
    config, _ = files.find_config(weights, beside, read_config, inferred, kind="BitDance")
    own = {name: each for name, each in found.items() if not name.startswith(_TOKENIZER_PREFIX)}
    return config, files.count(own)


def infer_config(found: files.Shapes) -> BitDanceConfig | None:
    """Read the sizes off the names and shapes of weights, or None if that fails.

    ``heads`` leaves no trace in the weights and is assumed to be the width divided by 64, as in all
    released models. Nor do the fields of the training objective, which are the defaults.
    """
    try:
        rows, classes = found["cls_embedding.weight"][0], found["cls_embedding.weight"][1]
        tokens, width = found["pos_for_diff.weight"]
        diffusion_width, latent_channels = found["head.net.input_proj.weight"]
        return BitDanceConfig(
            width=width,
            layers=files.numbered(found, "layers.{}.attention.wqkv.weight"),
            heads=max(1, width // _ASSUMED_HEAD_DIM),
            diffusion_width=diffusion_width,
            diffusion_blocks=files.numbered(found, "head.net.res_blocks.{}.w1.weight"),
            diffusion_modulations=files.numbered(found, "head.net.ada_ln_blocks.{}.weight"),
            latent_channels=latent_channels,
            grid=math.isqrt(tokens),
            classes=rows - 1,
            class_tokens=classes // width,
            parallel_tokens=found.get("query_token", (1, 0, width))[1] + 1,
        )
    except (KeyError, ValueError, IndexError):
        return None
