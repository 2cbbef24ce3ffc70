"""Checkpoints that each process writes its own part of, by torch.distributed.checkpoint.

```
step-00001000/__0_0.distcp      tensors that process 0 holds; so for every process
step-00001000/.metadata         which part of which tensor lies where
step-00001000/others.pt         all that is no tensor
step-00001000/checksums.json    CRC-32 of these files, by name
```

Any number of processes reads what any other number wrote.
"""

from __future__ import annotations

import pickle
import shutil
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from uniwetok.files import read_json, replaced, write_json

_METADATA = ".metadata"
_OTHERS = "others.pt"
_CHECKSUMS = "checksums.json"
_A_MOMENT = 0.2
"""Seconds in which idle threads let go of what they held."""
_CHUNK = 1 << 20
_LONGEST_WRITE = timedelta(hours=2)
"""How long the first process to have written waits for the last one."""
_PICKLED = {
    *(
        ("torch.distributed.checkpoint.metadata", name)
        for name in (
            "_MEM_FORMAT_ENCODING",
            "BytesStorageMetadata",
            "ChunkStorageMetadata",
            "Metadata",
            "MetadataIndex",
            "TensorProperties",
            "TensorStorageMetadata",
        )
    ),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
}
"""All that the metadata of our checkpoints consists of, beside dtypes, by module and name."""


def open_group() -> ProcessGroup:
    """Let all processes write or wait together; every one of them must call this.

    A group of its own, and on CPUs: training uses the other one at the same time, and NCCL gives up
    on processes that are silent for ten minutes.
    """
    group = distributed.new_group(backend="gloo", timeout=_LONGEST_WRITE)
    return cast("ProcessGroup", group)


def let_go() -> None:
    """Give the threads of a group time to end with it, before its last reference goes.

    They drop the last tensors when they may hold the interpreter, which the end of a group holds
    while it waits for them: seen to wait for ever under torch 2.6.
    """
    time.sleep(_A_MOMENT)


def write(target: Path, state: Mapping[str, Any], group: ProcessGroup) -> None:
    """Write a folder that is whole, or not there; every process must call this.

    Args:
        target: the folder, on a disk that all processes share.
        state: nested mappings, tensors on the CPU; what is no tensor is the main process's.
        group: see `open_group`.

    Raises:
        OSError: in all processes, where one of them cannot write.
        RuntimeError: likewise, for another reason; also where one of them has ended.
    """
    partial = target.with_name(f"{target.name}.partial")

    def clear() -> None:
        for left in target.parent.glob("*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)

    def seal() -> None:
        with replaced(partial / _OTHERS) as path:
            torch.save(_others(state), path)
        sums: dict[str, int] = {name: _crc(partial / name) for name in (_METADATA, _OTHERS)}
        for part in parts:
            sums |= part
        if away := [name for name in sums if not (partial / name).is_file()]:
            raise OSError(f"{away[0]} is on another disk: all machines must share the folder")
        write_json(partial / _CHECKSUMS, sums)
        partial.rename(target)

    _by_main(clear, group)
    with _cause_raised():
        save(_tensors(state), storage_writer=_Writer(partial), process_group=group)
    own = {path.name: _crc(path) for path in partial.glob(f"__{distributed.get_rank(group)}_*")}
    parts: list[dict[str, int]] = [{} for _ in range(distributed.get_world_size(group))]
    distributed.all_gather_object(parts, own, group=group)
    _by_main(seal, group)


def read(folder: Path, template: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the tensors of a state, sharded or whole; every process must call this.

    Args:
        folder: as `write` wrote it, with any number of processes.
        template: nested mappings whose tensors are overwritten.

    Returns:
        The template with its tensors, and all that is no tensor as it was written.

    Raises:
        ValueError: in all processes, where a checksum differs.
        OSError, RuntimeError: a file is missing, or no checkpoint of ours.
    """
    _check(folder)
    with warnings.catch_warnings(), _cause_raised():
        # That a single process reads alone, which is what it is to do.
        warnings.filterwarnings("ignore", "torch.distributed is ")
        load(_tensors(template), storage_reader=_Reader(folder))
    return _merged(template, torch.load(folder / _OTHERS, map_location="cpu", weights_only=True))


class _Writer(FileSystemWriter):
    """Writes metadata without the folder's name, which changes, and whose class Python moves."""

    def storage_meta(self) -> None:
        return None


class _Reader(FileSystemReader):
    """Reads metadata without running any code that it may hold."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        with (Path(self.path) / _METADATA).open("rb") as file:
            metadata: Metadata = _Unpickler(file).load()
        return metadata


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_dtype and (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which is refused")
        return super().find_class(module, name)


@contextmanager
def _cause_raised() -> Iterator[None]:
    """Raise what torch wraps, which is no `Exception`."""
    try:
        yield
    except CheckpointException as error:
        cause, _ = next(iter(error.failures.values()))
        raise cause if isinstance(cause, OSError) else RuntimeError(str(cause)) from error


def _check(folder: Path) -> None:
    """Compare the files with their checksums; the processes share them out."""
    sums: dict[str, int] = read_json(folder / _CHECKSUMS)
    together = distributed.is_initialized()
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
    damaged = [name for name in sorted(sums)[rank::world] if _crc(folder / name) != sums[name]]
    found = [damaged] * world
    if together:
        distributed.all_gather_object(found, damaged)
    for name in chain.from_iterable(found):
        raise ValueError(f"the checksum of {name} differs")


def _crc(path: Path) -> int:
    """CRC-32 of a file; -1 where there is none."""
    if not path.is_file():
        return -1
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _by_main(work: Callable[[], None], group: ProcessGroup) -> None:
    """Let the main process work while the others wait; all of them raise what it raises."""
    failure: list[Exception | None] = [None]
    if distributed.get_rank(group) == 0:
        try:
            work()
        except (OSError, RuntimeError) as error:
            failure = [error]
    distributed.broadcast_object_list(failure, src=0, group=group)
    if failure[0] is not None:
        raise failure[0]


def _tensors(state: Mapping[str, Any], path: str = "") -> dict[str, Tensor]:
    """Tensors of nested mappings by their path."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            found[f"{path}{name}"] = value
        elif isinstance(value, Mapping):
            found |= _tensors(value, f"{path}{name}/")
    return found


def _others(state: Mapping[str, Any]) -> dict[str, Any]:
    """All that `_tensors` leaves."""
    return {
        name: _others(value) if isinstance(value, Mapping) else value
        for name, value in state.items()
        if not isinstance(value, Tensor)
    }


def _merged(template: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Put `_tensors` and `_others` together again."""
    tensors = {
        name: _merged(value, others.get(name, {})) if isinstance(value, Mapping) else value
        for name, value in template.items()
        if isinstance(value, Mapping | Tensor)
    }
    return {**others, **tensors}
