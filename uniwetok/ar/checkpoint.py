"""Finding and reading weights and configurations of BitDance, released or own."""

from __future__ import annotations

import math
from pathlib import Path

from uniwetok.ar.config import BitDanceConfig
from uniwetok.files import read_json
from uniwetok.tensors import (
    CONFIG_FILE,
    CheckpointError,
    Shapes,
    check_one,
    first_line,
    read_shapes,
    weights_in,
)
from uniwetok.tokenizer import checkpoint as files
from uniwetok.weights import Weights, count, numbered, unwrapped

NAMES_FILE = "classes.txt"
"""Beside weights: the names of their classes, one a line, where they are not ImageNet's."""
TOKENIZER_FILE = "tokenizer.json"
"""Beside weights: digest of the encoder whose codes they were trained on."""
_TOKENIZER_PREFIX = "vae."
_ASSUMED_HEAD_DIM = 64


def locate(path: str | Path) -> tuple[Path, Path | None]:
    """Find the weights, and the configuration beside them if there is one.

    Args:
        path: a weights file, an index of several, or a folder with ``model.safetensors`` or
            ``model.safetensors.index.json``.

    Raises:
        CheckpointError: the path does not exist, or the folder holds no weights.
    """
    path = Path(path)
    if path.is_dir():
        check_one(path)
        path = weights_in(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    config = path.with_name(CONFIG_FILE)
    described = path.suffix == ".safetensors" or path.name.endswith(".index.json")
    return path, config if described and config.is_file() else None


def read_config(path: Path) -> BitDanceConfig:
    """Read a ``config.json``.

    Raises:
        CheckpointError: the file is unreadable, not JSON, or not a configuration.
    """
    try:
        return BitDanceConfig.from_dict(read_json(path))
    except (OSError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a BitDance configuration: {first_line(error)}"
        ) from error


def faults(weights: Weights, expected: Shapes, *, ema: bool) -> list[str]:
    """Describe every name that is missing, unknown or of another shape.

    A name of the transformer or head that the model lacks is a fault, as it shows a checkpoint of
    another size; one of the tokenizer, which released checkpoints carry, is not.
    """
    return weights.faults(expected, ema=ema, beside=(_TOKENIZER_PREFIX,))


def describe(path: str | Path) -> tuple[BitDanceConfig, int]:
    """Give the configuration and the number of parameters; no weights are read.

    Raises:
        CheckpointError: a file is absent, damaged or unsafe; whether the weights fit the
            configuration is found out by loading them.
    """
    weights, beside = locate(path)
    found = unwrapped(read_shapes(weights), weights)
    inferred = infer_config(found)
    config, _ = files.find_config(weights, beside, read_config, inferred, kind="BitDance")
    own = {name: each for name, each in found.items() if not name.startswith(_TOKENIZER_PREFIX)}
    return config, count(own)


def infer_config(found: Shapes) -> BitDanceConfig | None:
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
            layers=numbered(found, "layers.{}.attention.wqkv.weight"),
            heads=max(1, width // _ASSUMED_HEAD_DIM),
            diffusion_width=diffusion_width,
            diffusion_blocks=numbered(found, "head.net.res_blocks.{}.w1.weight"),
            diffusion_modulations=numbered(found, "head.net.ada_ln_blocks.{}.weight"),
            latent_channels=latent_channels,
            grid=math.isqrt(tokens),
            classes=rows - 1,
            class_tokens=classes // width,
            parallel_tokens=found.get("query_token", (1, 0, width))[1] + 1,
        )
    except (KeyError, ValueError, IndexError):
        return None
