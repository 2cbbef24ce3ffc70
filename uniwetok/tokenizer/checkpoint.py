"""Weights and configurations in released and own files; nothing in a file is executed."""

from __future__ import annotations

import collections
import contextlib
import json
import math
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from uniwetok.files import replaced
from uniwetok.tokenizer.config import UniWeTokConfig, default_groups

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
RELEASED_WEIGHTS_FILE = "ae.safetensors"
RELEASED_CONFIG_FILE = "ae_config.json"

FOLDER_LAYOUTS = ((WEIGHTS_FILE, CONFIG_FILE), (RELEASED_WEIGHTS_FILE, RELEASED_CONFIG_FILE))
_EMA_PREFIX = "model_ema."
_ASSUMED_HEAD_DIM = 64
_LISTED = 8

C = TypeVar("C")
Shapes = Mapping[str, tuple[int, ...]]
ConfigSource = Literal["given", "file", "inferred"]


class CheckpointError(ValueError):
    """A checkpoint cannot be read or does not fit; the one-line message says why and what to do."""


@dataclass(frozen=True)
class LoadReport:
    """What was taken from a checkpoint."""

    path: Path
    """File the weights were read from."""
    config_source: ConfigSource
    """Where the configuration came from: the caller, a file beside the weights, or the names and
    shapes of the weights, which cannot tell ``heads``, ``groups`` and ``siglu``."""
    tensors: int
    """Tensors loaded: every one the model has."""
    from_ema: int
    """Those of them that are exponential moving averages; the others are the raw weights."""
    ignored: tuple[str, ...]
    """Names in the file that the model does not have, such as losses and distillation heads."""


def locate(path: str | Path) -> tuple[Path, Path | None]:
    """Find the weights, and the configuration beside them if there is one.

    Args:
        path: a weights file, or a folder with ``model.safetensors`` or ``ae.safetensors``.

    Raises:
        CheckpointError: the path does not exist, or the folder holds no weights.
    """
    path = Path(path)
    if path.is_dir():
        for weights, config in FOLDER_LAYOUTS:
            if (path / weights).is_file():
                return path / weights, _existing(path / config)
        names = " nor ".join(weights for weights, _ in FOLDER_LAYOUTS)
        raise CheckpointError(f"{path}: the folder holds neither {names}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file or folder")
    if path.suffix != ".safetensors":
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
            f"{weights}: no {kind} sizes can be inferred from these weights; "
            f"pass config={kind}Config(...) if they are one's"
        )
    return inferred, "inferred"


def describe(path: str | Path) -> tuple[UniWeTokConfig, int]:
    """Give the configuration and the number of parameters; no weights are read.

    Raises:
        CheckpointError: a file is absent, damaged or unsafe; whether the weights fit the
            configuration is found out by loading them.
    """
    weights, beside = locate(path)
    found = read_shapes(weights)
    config, _ = find_config(weights, beside, read_config, infer_config(found))
    return config, count(found, ("encoder.", "decoder."))


def count(found: Shapes, prefixes: tuple[str, ...] = ("",)) -> int:
    """Count the numbers in the tensors whose names begin with any of the prefixes."""
    return sum(math.prod(shape) for name, shape in found.items() if name.startswith(prefixes))


def read_shapes(path: Path) -> Shapes:
    """Read the shape of every tensor that ``read_tensors`` gives, from a file's header alone.

    Raises:
        CheckpointError: as ``read_tensors``.
    """
    if path.suffix != ".safetensors":
        return shapes(read_tensors(path))  # Mapped into memory, so none of the weights are read.
    with _readable(path), safe_open(path, framework="pt") as file:
        names = file.keys()
        return {name: tuple(file.get_slice(name).get_shape()) for name in names}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every named tensor of a ``.safetensors`` file or of a torch checkpoint, on the CPU.

    A torch checkpoint may be the state dict itself or hold it under ``state_dict`` (Lightning).

    Raises:
        CheckpointError: the file is corrupt or truncated, would run code, or holds no tensors.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    if isinstance(content, Mapping):
        state = content.get("state_dict", content)
        if isinstance(state, Mapping):
            tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors
    raise CheckpointError(f"{path}: holds no named tensors, at the top or under 'state_dict'")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a ``.safetensors`` file, whole or not at all."""
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    # Renamed into place, since the tensors may be mapped from the very file to be replaced.
    with replaced(path) as partial:
        save_file(contiguous, partial, metadata={"format": "pt"})


def _read_safetensors(path: Path) -> object:
    with _readable(path):
        return load_file(path)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn the failures of reading safetensors into a `CheckpointError`."""
    try:
        yield
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a safetensors file, or damaged; fetch it again ({first_line(error)})"
        ) from error


def read_torch(path: Path) -> object:
    """Read what a torch file holds, weights alone; raise `CheckpointError` for anything else."""
    # Only zip archives, torch's format since 1.6, can be mapped into memory.
    is_zip = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            # The one line that a refused file ends in says it all.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:
        # A damaged pickle can raise nearly any exception from inside the unpickler.
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path, is_zip):
            named = re.search(r"GLOBAL (\S+)", str(error))
            raise CheckpointError(
                f"{path}: refused, because it holds {named[1] if named else 'objects'} and not "
                f"weights alone, and loading it could run code; where you trust the file, convert "
                f"it: torch.load(path, weights_only=False)['state_dict'], then "
                f"safetensors.torch.save_file of its tensors"
            ) from error
        raise CheckpointError(
            f"{path}: not a torch checkpoint, or damaged; fetch it again ({first_line(error)})"
        ) from error


def _is_pickle(path: Path, is_zip: bool) -> bool:
    """Tell a sound pickle, which is read here but not executed, from other bytes."""
    try:
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                collections.deque(pickletools.genops(archive.read(name)), maxlen=0)
        else:
            with path.open("rb") as file:
                collections.deque(pickletools.genops(file), maxlen=0)
    except Exception:
        return False
    return True


def first_line(error: Exception) -> str:
    """Give the kind and the first line of an error, for use inside one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def select(
    tensors: Mapping[str, Tensor], names: Shapes, *, ema: bool
) -> tuple[dict[str, Tensor], int, tuple[str, ...]]:
    """Pick the model's weights: the moving average of each where there is one, else the raw one.

    A released Lightning checkpoint names the average of ``a.b.c`` as ``model_ema.abc``. Parts that
    were frozen in training have none, so the raw fallback is right for them.

    Args:
        tensors: everything in the file.
        names: names the model has.
        ema: whether to prefer the averages.

    Returns:
        The weights found by the model's names, how many are averages, and the unused names.
    """
    averages = {_EMA_PREFIX + name.replace(".", ""): name for name in names} if ema else {}
    found = {name: tensors[name] for name in names if name in tensors}
    averaged = {name: tensors[key] for key, name in averages.items() if key in tensors}
    ignored = tuple(name for name in tensors if name not in names and name not in averages)
    return found | averaged, len(averaged), ignored


def shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """Give the shape of every named tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def faults(weights: Mapping[str, Tensor], expected: Shapes) -> list[str]:
    """Describe every name of the model that is missing or has another shape."""
    missing = [f"{name} (missing)" for name in expected if name not in weights]
    return missing + [
        f"{name} (file {tuple(weights[name].shape)}, model {shape})"
        for name, shape in expected.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]


def listing(faults: list[str]) -> str:
    """Count the faults and list up to eight of them."""
    more = f" and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
    return f"{len(faults)} tensors do not fit: {', '.join(faults[:_LISTED])}{more}"


def infer_config(found: Shapes) -> UniWeTokConfig | None:
    """Read the configuration off the names and shapes of raw weights, or None if that fails.

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


def numbered(names: Shapes, pattern: str) -> int:
    """Count the consecutive indices, from 0, under which the pattern names a weight."""
    count = 0
    while pattern.format(count) in names:
        count += 1
    return count
