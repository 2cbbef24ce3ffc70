"""Named tensors in files, released, own and other people's; nothing in a file is executed."""

from __future__ import annotations

import argparse
import collections
import contextlib
import math
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from uniwetok.files import read_json, replaced

if TYPE_CHECKING:  # Cards are read off headers, without torch, whose import takes seconds.
    from torch import Tensor

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
"""Beside shards: which tensor lies in which, as transformers and diffusers write it."""
HEADS_FILE = "distillation.safetensors"
HEADS_CARD_FILE = "distillation.json"
"""Beside a tokenizer: its distillation heads, and what they were trained for."""
SHARDS = "model-*-of-*.safetensors"
"""What they call the shards."""
AVERAGED = {
    *("ema", "model_ema", "ema_model", "params_ema", "ema_state_dict", "state_dict_ema"),
    *("shadow", "shadow_params"),
}
"""Entries and prefixes under which trainers keep exponential moving averages."""
WRAPPERS = AVERAGED | {"module", "_orig_mod", "model", "state_dict", "model_state_dict", "params"}
"""Those and the ones that change no weight: DDP's, torch.compile's, Lightning's …"""
BUFFERS = {
    *("codebook_used", "ema_vocab_hit_SV", "used", "cluster_size", "embed_avg", "embed_prob"),
    *("attn_mask", "causal_mask", "mask", "attn_bias_for_masking", "zero_k_bias"),
    *("freqs", "freqs_cis", "inv_freq", "num_batches_tracked", "lvl_1L"),
}
"""Last parts of the names of what no image depends on: how often codes were used and their running
averages, masks, rotary tables, which networks make themselves."""
_FLOATS = {"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"}
"""Kinds of numbers that weights may have, each read as the float32 of its value."""
_LISTED = 8
_NAMED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    # Lightning before 1.6 keeps its callbacks' states by their classes. An empty class of that name
    # stands for the only one that VQGAN's checkpoints have, so that nothing of Lightning is loaded.
    type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks.model_checkpoint"}),
]
"""What torch files may name beside weights and plain values."""

Shapes = Mapping[str, tuple[int, ...]]


class CheckpointError(ValueError):
    """A checkpoint cannot be read or does not fit; the one-line message says why and what to do."""


def read_shapes(path: Path) -> Shapes:
    """Read the shape of every tensor that ``read_tensors`` gives, from a file's header alone.

    Raises:
        CheckpointError: as ``read_tensors``.
    """
    found: dict[str, tuple[int, ...]] = {}
    for shard in shards(path):
        if shard.suffix != ".safetensors":
            return shapes(read_tensors(shard))  # Mapped into memory: no weights are read.
        with _readable(shard), safe_open(shard, framework="numpy") as file:
            names = file.keys()
            found |= {name: tuple(file.get_slice(name).get_shape()) for name in names}
    return found


def shards(path: Path) -> list[Path]:
    """List the files of a checkpoint: those that an index names, or the file itself.

    Raises:
        CheckpointError: the index is damaged, or a shard is missing.
    """
    if not path.name.endswith(".index.json"):
        return [path]
    try:
        names = sorted(set(read_json(path)["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("no list of files beside it")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not an index of safetensors files: {first_line(error)}"
        ) from error
    if missing := [name for name in names if not path.with_name(name).is_file()]:
        raise CheckpointError(
            f"{path}: {len(missing)} of its {len(names)} files are missing: {listed(missing)}"
        )
    return [path.with_name(name) for name in names]


def files_of(weights: Path, config: Path | None) -> list[Path]:
    """List the files that a located checkpoint is known by: its weights', and the configuration."""
    return shards(weights) if config is None else [*shards(weights), config]


def weights_in(folder: Path) -> Path:
    """Name a folder's whole weights, or the index of its shards where only that is there."""
    whole, index = folder / WEIGHTS_FILE, folder / INDEX_FILE
    return index if index.is_file() and not whole.is_file() else whole


def check_one(folder: Path) -> None:
    """Raise `CheckpointError` where a folder holds weights both whole and in shards."""
    if (folder / WEIGHTS_FILE).is_file() and (folder / INDEX_FILE).is_file():
        raise CheckpointError(
            f"{folder}: holds both {WEIGHTS_FILE} and {INDEX_FILE}, of which one may be older: "
            "name the file that counts"
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every named tensor of safetensors files or of a torch checkpoint, on the CPU.

    A torch checkpoint may be the state dict itself, or hold several under names such as
    ``state_dict`` (Lightning), ``model`` and ``ema``: their tensors are called ``ema.a.b``.

    Args:
        path: the file, or an index of several.

    Raises:
        CheckpointError: a file is missing, corrupt or truncated, would run code, or holds no
            tensors, or some that are not plain numbers, all there.
    """
    found: dict[str, Tensor] = {}
    content: object = {}
    for shard in shards(path):
        if shard.suffix == ".safetensors":
            from safetensors.torch import load_file

            with _readable(shard):
                found |= load_file(shard)
        else:
            content = read_torch(shard)
            found |= _named(_of_training(content))
    for name, value in found.items():
        _check_plain(path, name, value)
    if not found:
        entries = "', '".join(sorted(WRAPPERS - {"_orig_mod"}))
        held = f"a {type(content).__name__}"
        if isinstance(content, Mapping):
            held = listed(list(map(repr, content))) or "nothing"
        raise CheckpointError(
            f"{path}: holds no named tensors, at the top or under '{entries}'; it holds {held}: "
            "save the weights alone"
        )
    return found


def _of_training(content: object) -> object:
    """Averages and raw weights in a checkpoint of our own training of a tokenizer."""
    trainer = content.get("trainer") if isinstance(content, Mapping) else None
    if not isinstance(trainer, Mapping) or not isinstance(trainer.get("generator"), Mapping):
        return content
    parts = {"ema": trainer.get("ema"), "model": trainer["generator"].get("network")}
    return {
        part: {str(name).removeprefix("tokenizer."): value for name, value in weights.items()}
        for part, weights in parts.items()
        if isinstance(weights, Mapping)
    }


def _check_plain(path: Path, name: str, value: Tensor) -> None:
    """Raise `CheckpointError` for a tensor that does not hold a number for each place."""
    import torch

    if value.layout is not torch.strided or value.is_nested:
        kind = "is sparse or nested"
    elif value.is_quantized:
        kind = f"is quantized ({_dtype(value)})"
    elif value.is_meta:
        kind = "has a shape but no values (it was on the meta device)"
    elif (
        # Masks may be one row seen many times; a weight so small is a mistake or an attack.
        name.rpartition(".")[2] not in BUFFERS
        and math.prod(value.shape) * value.element_size() > value.untyped_storage().nbytes()
    ):
        kind = f"claims the shape {tuple(value.shape)} and holds fewer values than that"
    else:
        return
    raise CheckpointError(f"{path}: {name} {kind}: save plain weights, such as .safetensors")


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _named(content: object, prefix: str = "") -> dict[str, Tensor]:
    import torch

    found: dict[str, Tensor] = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if torch.is_tensor(value):
            found[f"{prefix}{name}"] = value
        elif name in WRAPPERS:
            # Lightning's own entry is no part of a weight's name.
            found |= _named(value, prefix if name == "state_dict" else f"{prefix}{name}.")
    if isinstance(content, list | tuple) and prefix:
        # Averages in the order of the parameters say not whose they are: they are told of, unused.
        found |= {f"{prefix}{n}": each for n, each in enumerate(content) if torch.is_tensor(each)}
    return found


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a ``.safetensors`` file, whole or not at all."""
    from safetensors.torch import save_file

    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    # Renamed into place, since the tensors may be mapped from the very file to be replaced.
    with replaced(path) as partial:
        save_file(contiguous, partial, metadata={"format": "pt"})


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
    """Read what a torch file holds: weights, plain values and arguments, nothing that runs.

    Raises:
        CheckpointError: it holds anything else, or is damaged.
    """
    import torch

    # Only zip archives, torch's format since 1.6, can be mapped into memory.
    is_zip = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_NAMED):
            # The one line that a refused file ends in says it all.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:
        # A damaged pickle can raise nearly any exception from inside the unpickler.
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path, is_zip):
            named = re.search(r"GLOBAL (\S+)", str(error))
            raise CheckpointError(
                f"{path}: refused, because it holds {named[1] if named else 'objects'} and not "
                f"weights alone, and loading it could run code; ask who made it for a .safetensors "
                f"file of its weights"
            ) from error
        # Of bytes that are no pickle at all the unpickler's own words say nothing.
        told = f" ({first_line(error)})" if isinstance(error, (OSError, RuntimeError)) else ""
        raise CheckpointError(
            f"{path}: not a torch checkpoint, or damaged; fetch it again{told}"
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


def check_finite(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Raise `CheckpointError` that names the first weight with a value that is no finite float32.

    Other floating-point numbers are converted; whole and complex ones are none of a weight.
    """
    import torch

    for name, value in weights.items():
        if _dtype(value) not in _FLOATS:
            raise CheckpointError(
                f"{path}: {name} is of {_dtype(value)}, where floating-point weights are needed: "
                "save it as float32"
            )
        finite = torch.isfinite(value.to(torch.float32))
        if not bool(finite.all()):
            broken = int(value.numel() - finite.sum())
            raise CheckpointError(
                f"{path}: {name} holds {broken} of {value.numel()} values that are not finite: the "
                "training diverged or the file is damaged; take an earlier checkpoint"
            )


def shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """Give the shape of every named tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def listed(names: Sequence[str]) -> str:
    """List up to eight names, and count the others."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def first_line(error: Exception) -> str:
    """Give the kind and the first line of an error, for use inside one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
