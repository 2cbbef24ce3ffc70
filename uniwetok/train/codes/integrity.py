"""What tells that a cache is as it was written, and of the files that it was made from."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniwetok.files import write_json
from uniwetok.train import TrainingError
from uwt_images.listing import CLOCK_NS, state_of

CHECKSUM = 4
"""Bytes of a CRC-32."""
_SEAL = "sha256"
_READERS = 8


def with_checksums(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put behind each row of codes, uint8 (n, bytes), the CRC-32 of its bytes."""
    sums = np.array([zlib.crc32(row) for row in codes], "<u4")
    return np.concatenate([codes, sums[:, None].view(np.uint8)], axis=1)


def without_checksums(rows: NDArray[np.uint8], name: Callable[[int], str]) -> NDArray[np.uint8]:
    """Give what `with_checksums` was given; raise `TrainingError`, by name, where it is not."""
    codes = rows[:, :-CHECKSUM].copy()
    damaged = np.flatnonzero((with_checksums(codes) != rows).any(axis=1))
    if len(damaged):
        raise TrainingError(
            f"{name(int(damaged[0]))} are damaged; remove the folder to encode anew"
        )
    return codes


def write_sealed(path: Path, values: dict[str, Any]) -> None:
    """Write a cache's header, JSON, with the digest of its values."""
    write_json(path, {**values, _SEAL: _digest(values)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` was given; raise `ValueError` where it is not that."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if values.pop(_SEAL, None) != _digest(values):
        raise ValueError("the header's checksum differs, or an older version wrote it")
    return values


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Raise a `TrainingError` that names the cache where something in it cannot be read."""
    try:
        yield
    except Exception as error:
        # Damaged bytes make readers of JSON and arrays raise nearly any exception.
        raise TrainingError(
            f"{folder}: no readable codes ({error}); remove the folder to encode anew"
        ) from error


def content_digest(facts: Iterable[str], files: Iterable[Path]) -> str:
    """SHA-256 of some facts and of the content of files, in order.

    All of them are read: `state_digest` tells whether that is needed.
    """
    return _of_all(facts, files, _content)


def state_digest(facts: Iterable[str], files: Iterable[Path], since: int | None = None) -> str:
    """SHA-256 of some facts and of the files' sizes, times and places on disk.

    Empty where a file was changed so lately that another change might not show: just before
    ``since``, or later. That is when reading them began, in nanoseconds; by default now.
    """
    newest = 0

    def state(path: Path) -> str:
        nonlocal newest
        stat = path.stat()
        newest = max(newest, stat.st_mtime_ns, stat.st_ctime_ns)
        return state_of(stat)

    digest = _of_all(facts, files, state)
    return digest if newest + CLOCK_NS < (since or time.time_ns()) else ""


def _of_all(facts: Iterable[str], files: Iterable[Path], about: Callable[[Path], str]) -> str:
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(f"{fact}\n".encode())
    with ThreadPoolExecutor(_READERS) as pool:
        for fact in pool.map(lambda path: _fact(about, path), files):
            digest.update(f"{fact}\n".encode())
    return digest.hexdigest()


def _fact(about: Callable[[Path], str], path: Path) -> str:
    try:
        return about(path)
    except OSError as error:  # It has no codes either: whether it may lack them is decided there.
        return str(error.strerror)
    except ValueError:  # No file may have that name.
        return "no name"


def _content(path: Path) -> str:
    if not path.is_file():  # A FIFO would wait for ever.
        return "no file"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
