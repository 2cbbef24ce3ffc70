"""Finding weights and configurations of UniWeTok, released or own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from uniwetok.tokenizer.config import UniWeTokConfig, default_groups
from uniwetok.weights import (
    CONFIG_FILE,
    INDEX_FILE,
    WEIGHTS_FILE,
    CheckpointError,
    ConfigSource,
    Shapes,
    check_one,
    count,
    first_line,
    numbered,
    read_shapes,
    unwrapped,
)

RELEASED_WEIGHTS_FILE = "ae.safetensors"
RELEASED_CONFIG_FILE = "ae_config.json"

FOLDER_LAYOUTS = (
    (WEIGHTS_FILE, CONFIG_FILE),
    (RELEASED_WEIGHTS_FILE, RELEASED_CONFIG_FILE),
    (INDEX_FILE, CONFIG_FILE),
)
_ASSUMED_HEAD_DIM = 64

C = TypeVar("C")


def locate(path: str | Path) -> tuple[Path, Path | None]:
    """Find the weights, and the configuration beside them if there is one.

    Args:
        path: a weights file, an index of several, or a folder with ``model.safetensors``,
            ``ae.safetensors`` or ``model.safetensors.index.json``.

    Raises:
        CheckpointError: the path does not exist, or the folder holds no weights.
    """
    path = Path(path)
    if path.is_dir():
        check_one(path)
        for weights, config in FOLDER_LAYOUTS:
            if (path / weights).is_file():
                return path / weights, _existing(path / config)
        names = " or ".join(weights for weights, _ in FOLDER_LAYOUTS)
        raise CheckpointError(f"{path}: the folder holds no {names}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file or folder")
    if path.suffix != ".safetensors" and not path.name.endswith(".index.json"):
        return path, None
    beside = (CONFIG_FILE, RELEASED_CONFIG_FILE)
    if path.name == RELEASED_WEIGHTS_FILE:
        beside = (RELEASED_CONFIG_FILE, CONFIG_FILE)
    return path, _existing(*(path.with_name(name) for name in beside))


def _existing(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def read_config(path: Path) -> UniWeTokConfig:
    """Read a configuration, whether ours (``config.json``) or released (``ae_config.json``).

    Raises:
        CheckpointError: the file is unreadable, not JSON, or not a configuration.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise TypeError(f"expected an object, got a {type(values).__name__}")
        released = "ddconfig" in values or "ch" in values
        return (UniWeTokConfig.from_released if released else UniWeTokConfig.from_dict)(values)
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not a UniWeTok configuration: {first_line(error)}"
        ) from error


def find_config(
    weights: Path,
    beside: Path | None,
    read: Callable[[Path], C],
    inferred: C | None,
    given: C | None = None,
    kind: str = "UniWeTok",
) -> tuple[C, ConfigSource]:
    """Take a given configuration, or else the one beside the weights, or else the inferred one.

    Raises:
        CheckpointError: it cannot be read, or nothing was inferred; ``kind`` is the model's.
    """
    if given is not None:
        return given, "given"
    if beside is not None:
        return read(beside), "file"
    if inferred is None:
        raise CheckpointError(
            f"{weights}: no {kind}'s sizes can be told from these weights: if they are one's, save "
            f"them as .safetensors with a {CONFIG_FILE} of the sizes beside"
        )
    return inferred, "inferred"


def describe(path: str | Path) -> tuple[UniWeTokConfig, int]:
    """Give the configuration and the number of parameters; no weights are read.

    Raises:
        CheckpointError: a file is absent, damaged or unsafe; whether the weights fit the
            configuration is found out by loading them.
    """
    weights, beside = locate(path)
    found = unwrapped(read_shapes(weights), weights)
    config, _ = find_config(weights, beside, read_config, infer_config(found))
    return config, count(found, ("encoder.", "decoder."))


def infer_config(found: Shapes) -> UniWeTokConfig | None:
    """Read the configuration off the names and shapes of weights, or None if that fails.

    ``heads`` leaves no trace in the weights and is assumed to be the width divided by 64, as in the
    paper's model; ``groups`` is assumed to give groups of 8 bits, and ``siglu`` to be on.
    """
    try:
        channels, in_channels = found["encoder.conv_in.weight"][:2]
        levels = numbered(found, "encoder.down.{}.downsample.weight")
        blocks = [f"encoder.down.{i + 1}.block.0" for i in range(levels)]
        single = any(f"{block}.nin_shortcut.weight" in found for block in blocks)
        strided = [f"encoder.down.{i}.downsample.weight" for i in range(levels)]
        widening = [f"{block}.conv1.weight" for block in blocks] if single else strided
        widths = [found[name][0] for name in widening]
        latent_channels, width = found["encoder.conv_out.weight"][:2]
        return UniWeTokConfig(
            in_channels=in_channels,
            out_channels=found["decoder.conv_out.weight"][0],
            channels=channels,
            channel_multipliers=(1, *(w // channels for w in widths)),
            num_res_blocks=numbered(found, "encoder.down.0.block.{}.conv1.weight"),
            latent_channels=latent_channels,
            attention_blocks=numbered(found, "encoder.mid_attn_blocks.{}.attention.wqkv.weight"),
            heads=max(1, width // _ASSUMED_HEAD_DIM),
            register_tokens=found["encoder.register_token.weight"][0],
            groups=default_groups(latent_channels),
            bottleneck="single" if single else "double",
        )
    except (KeyError, ValueError, IndexError):
        return None
