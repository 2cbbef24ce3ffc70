"""Finding weights and configurations of UniWeTok and its relatives, released or own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from uniwetok.files import read_json
from uniwetok.tensors import (
    CONFIG_FILE,
    INDEX_FILE,
    WEIGHTS_FILE,
    CheckpointError,
    Shapes,
    check_one,
    first_line,
    read_shapes,
)
from uniwetok.tokenizer.config import UniWeTokConfig, default_groups
from uniwetok.weights import ConfigSource, count, numbered, unwrapped

RELEASED_WEIGHTS_FILE = "ae.safetensors"
RELEASED_CONFIG_FILE = "ae_config.json"
_CONFIG_SUFFIX = "_config.json"
"""Released weights NAME.safetensors have their configuration in NAME_config.json."""

FOLDER_LAYOUTS = (
    (WEIGHTS_FILE, CONFIG_FILE),
    (RELEASED_WEIGHTS_FILE, RELEASED_CONFIG_FILE),
    (INDEX_FILE, CONFIG_FILE),
)
_CHECKPOINTS = "checkpoints"
_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")
_ASSUMED_HEAD_DIM = 64

C = TypeVar("C")


def locate(path: str | Path) -> tuple[Path, Path | None]:
    """Find the weights, and the configuration beside them if there is one.

    Args:
        path: a weights file, a checkpoint of our training, an index of several, or a folder with
            ``model.safetensors``, ``ae.safetensors`` or ``model.safetensors.index.json``.

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
        others = sorted(each.name for each in path.glob("*") if each.suffix in _SUFFIXES)
        hint = f"; name one of its files: {', '.join(others)}" if others else ""
        raise CheckpointError(f"{path}: the folder holds no {names}{hint}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file or folder")
    own = path.with_name(path.stem + _CONFIG_SUFFIX)
    if path.parent.name == _CHECKPOINTS:  # Of our training, whose settings lie above.
        return path, _existing(own, path.parent.parent / CONFIG_FILE)
    if path.suffix != ".safetensors" and not path.name.endswith(".index.json"):
        return path, _existing(own)
    return path, _existing(own, *(path.with_name(n) for n in (CONFIG_FILE, RELEASED_CONFIG_FILE)))


def _existing(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def read_config(path: Path, inferred: UniWeTokConfig | None = None) -> UniWeTokConfig:
    """Read a configuration: ours, a training's, or a released one (``ae_config.json``).

    Args:
        path: the file.
        inferred: what the weights tell. A released configuration says no architecture; without
            weights it is taken for UniWeTok's.

    Raises:
        CheckpointError: the file is unreadable, not JSON, or not a configuration.
    """
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise TypeError(f"expected an object, got a {type(values).__name__}")
        if isinstance(values.get("model"), dict) and "steps" in values:  # Of our training.
            values = values["model"]
        if "ddconfig" in values or "ch" in values:
            told = (inferred.architecture, inferred.generative) if inferred else ()
            return UniWeTokConfig.from_released(values, *told)
        return UniWeTokConfig.from_dict(values)
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
    inferred = infer_config(found)
    read = functools.partial(read_config, inferred=inferred)
    config, _ = find_config(weights, beside, read, inferred)
    return config, count(found, ("encoder.", "decoder."))


def infer_config(found: Shapes) -> UniWeTokConfig | None:
    """Read the configuration off the names and shapes of weights, or None if that fails.

    UniWeTok alone has registers, WeTok and BitDance alone residual blocks in the encoder's middle.
    ``heads`` leaves no trace in the weights and is assumed to be the width divided by 64, as in the
    paper's model; ``groups`` is assumed to give groups of 8 bits, and ``siglu`` to be on in a
    UniWeTok and off in a WeTok.
    """
    convolutional = "encoder.mid_block.0.conv1.weight" in found
    if convolutional == ("encoder.register_token.weight" in found):
        return None
    try:
        channels, in_channels = found["encoder.conv_in.weight"][:2]
        levels = numbered(found, "encoder.down.{}.downsample.weight")
        blocks = [f"encoder.down.{i + 1}.block.0" for i in range(levels)]
        single = any(f"{block}.nin_shortcut.weight" in found for block in blocks)
        strided = [f"encoder.down.{i}.downsample.weight" for i in range(levels)]
        widening = [f"{block}.conv1.weight" for block in blocks] if single else strided
        widths = [found[name][0] for name in widening]
        latent_channels, width = found["encoder.conv_out.weight"][:2]
        sizes: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": found["decoder.conv_out.weight"][0],
            "channels": channels,
            "channel_multipliers": (1, *(w // channels for w in widths)),
            "num_res_blocks": numbered(found, "encoder.down.0.block.{}.conv1.weight"),
            "latent_channels": latent_channels,
            "groups": default_groups(latent_channels),
        }
        if convolutional:
            generative = found["decoder.conv_in.weight"][1] == 2 * latent_channels
            same = len({channels, *widths}) == 1
            return UniWeTokConfig.wetok(
                **sizes, generative=generative, bottleneck="single" if single or same else "double"
            )
        return UniWeTokConfig(
            **sizes,
            attention_blocks=numbered(found, "encoder.mid_attn_blocks.{}.attention.wqkv.weight"),
            heads=max(1, width // _ASSUMED_HEAD_DIM),
            register_tokens=found["encoder.register_token.weight"][0],
            bottleneck="single" if single else "double",
        )
    except (KeyError, ValueError, IndexError):
        return None
