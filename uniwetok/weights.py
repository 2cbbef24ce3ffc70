"""Named tensors in released, own and other people's files; nothing in a file is executed."""

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open

from uniwetok.files import read_json, replaced

if TYPE_CHECKING:  # Cards are read off headers, without torch, whose import takes seconds.
    from torch import Tensor, nn

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
"""Beside shards: which tensor lies in which, as transformers and diffusers write it."""
HEADS_FILE = "distillation.safetensors"
HEADS_CARD_FILE = "distillation.json"
"""Beside a tokenizer: its distillation heads, and what they were trained for."""
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
_BUFFERS = {
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
    assumed: str = ""
    """Sizes that the weights do not tell and that no file says, where the configuration was
    inferred."""

    def __str__(self) -> str:
        told = [f"{self.from_ema} of {self.tensors} tensors are moving averages"]
        if self.assumed:
            told.append(f"assumed, for no {CONFIG_FILE} is beside them: {self.assumed}")
        if self.ignored:
            told.append(f"not the model's and ignored: {_listed(self.ignored)}")
        return f"{self.path.name}: {'; '.join(told)}"


class Weights:
    """The tensors of one checkpoint by the model's own names, whatever wrapped the model.

    Args:
        path: a ``.safetensors`` file, an index of several, or a torch checkpoint.
        rename: gives the model's name of a weight by the released one, without wrappers.

    Attributes:
        path: the file.
        shapes: of every weight, raw or averaged.

    Raises:
        CheckpointError: as ``read_tensors``, or one weight is there twice.
    """

    def __init__(self, path: Path, rename: Callable[[str], str] = str) -> None:
        self.path = path
        self._tensors = read_tensors(path)
        self._raw, self._averages = unwrap(self._tensors, path, rename)
        self.shapes: Shapes = unwrapped(shapes(self._tensors), path, rename)

    def faults(
        self, expected: Shapes, *, ema: bool, beside: tuple[str, ...] | None = None
    ) -> list[str]:
        """Describe every name that is missing, of another shape, or unknown to the model.

        A layer that the model does not have would be left out, and give something plausible.

        Args:
            expected: of the model.
            ema: as for `give`.
            beside: beginnings of names that may lie in the file and are not the model's; unless
                given, all of parts that the model does not have, such as losses.
        """
        parts = {name.partition(".")[0] for name in expected if "." in name}
        return faults(shapes(self._chosen(expected, ema=ema)[0]), expected) + [
            f"{name} (not in the model)"
            for name in self.shapes
            if name not in expected
            and name.rpartition(".")[2] not in _BUFFERS
            and (
                "." in name and name.partition(".")[0] in parts
                if beside is None
                else not name.startswith(beside)
            )
        ]

    def give(
        self, model: nn.Module, source: ConfigSource, assumed: str, *, ema: bool
    ) -> LoadReport:
        """Make the tensors, in float32, the parameters of a model that they fit.

        Args:
            model: built on the meta device.
            source: where the model's configuration came from.
            assumed: what is assumed of an inferred one.
            ema: take the moving average of each weight that has one, else the raw weight. Parts
                that were frozen in training have none.

        Raises:
            CheckpointError: a weight is not finite.
        """
        chosen, averages, ignored = self._chosen(model.state_dict(), ema=ema)
        import torch

        check_finite(self.path, chosen)
        model.load_state_dict(
            # Copied: a mapped tensor may begin at any byte, where kernels round otherwise.
            {name: value.to(torch.float32, copy=True) for name, value in chosen.items()},
            assign=True,
        )
        told = assumed if source == "inferred" else ""
        return LoadReport(self.path, source, len(chosen), averages, ignored, told)

    def _chosen(
        self, names: Iterable[str], *, ema: bool
    ) -> tuple[dict[str, Tensor], int, tuple[str, ...]]:
        """Give the weights by the model's names, how many are averages, and the unused names."""
        names = list(names)
        raw = {name: self._raw[name] for name in names if name in self._raw}
        averages: dict[str, str] = {}
        for name in names if ema else ():
            # Lightning's averages, the released ones too, are named without the dots.
            for spelt in (name, name.replace(".", "")):
                if spelt in self._averages:
                    averages[name] = self._averages[spelt]
        chosen = raw | averages
        known = {*raw.values(), *averages.values()}
        ignored = tuple(name for name in self._tensors if name not in known)
        tensors = {name: self._tensors[place] for name, place in chosen.items()}
        return tensors, len(averages), ignored


def unwrap(
    names: Iterable[str], path: Path, rename: Callable[[str], str] = str
) -> tuple[dict[str, str], dict[str, str]]:
    """Give the names in a file by the model's own names: of raw weights, and of averages.

    Raises:
        CheckpointError: two names are of one weight.
    """
    raw: dict[str, str] = {}
    averages: dict[str, str] = {}
    for name in names:
        own, kept = name, raw
        while (wrapper := own.partition(".")[0]) in WRAPPERS and "." in own:
            own = own.partition(".")[2]
            kept = averages if wrapper in AVERAGED else kept
        own = rename(own)
        if own in kept:
            raise CheckpointError(
                f"{path}: {kept[own]} and {name} are both called {own}: which of them is the "
                "model's cannot be told; save one of them alone"
            )
        kept[own] = name
    return raw, averages


def unwrapped(found: Shapes, path: Path, rename: Callable[[str], str] = str) -> Shapes:
    """Shapes by the model's own names; of averages where there is nothing else."""
    raw, averages = unwrap(found, path, rename)
    return {own: found[name] for own, name in (averages | raw).items()}


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
            f"{path}: {len(missing)} of its {len(names)} files are missing: {_listed(missing)}"
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
    for shard in shards(path):
        if shard.suffix == ".safetensors":
            from safetensors.torch import load_file

            with _readable(shard):
                found |= load_file(shard)
        else:
            found |= _named(read_torch(shard))
    for name, value in found.items():
        _check_plain(path, name, value)
    if not found:
        entries = "', '".join(sorted(WRAPPERS - {"_orig_mod"}))
        raise CheckpointError(f"{path}: holds no named tensors, at the top or under '{entries}'")
    return found


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
        name.rpartition(".")[2] not in _BUFFERS
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


def faults(found: Shapes, expected: Shapes) -> list[str]:
    """Describe every name of the model that is missing or has another shape."""
    missing = [f"{name} (missing)" for name in expected if name not in found]
    return missing + [
        f"{name} (file {found[name]}, model {shape})"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]


def listing(faults: list[str]) -> str:
    """Count the faults and list up to eight of them."""
    return f"{len(faults)} tensors do not fit: {_listed(faults)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def count(found: Shapes, prefixes: tuple[str, ...] = ("",)) -> int:
    """Count the numbers in the tensors whose names begin with any of the prefixes."""
    return sum(math.prod(shape) for name, shape in found.items() if name.startswith(prefixes))


def numbered(names: Shapes, pattern: str, least: int = 0) -> int:
    """Count layers, from 0 to the last whose weight the pattern names: a gap is a missing weight.

    Raises:
        KeyError: there are fewer than `least`; it names the next.
    """
    place = re.compile(re.escape(pattern).replace(r"\{\}", r"(0|[1-9][0-9]{0,5})"))
    found = (int(match[1]) for match in map(place.fullmatch, names) if match)
    # A lone enormous number is no layer: the model would be built with all those before it.
    count = max((index + 1 for index in found if index < len(names)), default=0)
    if count < least:
        raise KeyError(pattern.format(count))
    return count


def first_line(error: Exception) -> str:
    """Give the kind and the first line of an error, for use inside one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
