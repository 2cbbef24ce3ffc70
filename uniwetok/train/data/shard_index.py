"""Where the images of a WebDataset shard lie: read from its tar headers once, kept on disk."""

from __future__ import annotations

import functools
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import platformdirs
from numpy.typing import NDArray

from uwt_images.listing import IMAGE_SUFFIXES, check_tar_end

VERSION = 1
_BLOCK = 512
_EMPTY = bytes(_BLOCK)
_UNLABELLED = -1
_FIELDS = ("offset", "size", "label", "key")
_LARGEST_LABEL_FILE = 32
_PAX_CHANGES = (b" path=", b" size=", b" GNU.sparse.")
"""Fields of an extended header that change where a member lies or what it is called."""
Member = tuple[str, int, int]
"""Name, offset of the content in bytes, size in bytes."""


@dataclass(frozen=True)
class ShardIndex:
    """Images of one shard in the order of the tar."""

    rows: NDArray[np.void]
    """Offset and size in bytes of the image, label (-1 where there is none) and key in UTF-8."""
    damage: str = ""
    """Why the shard's end is not listed; empty for a whole shard."""

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, row: int) -> tuple[int, int]:
        """Return offset and size in bytes of the encoded image."""
        return int(self.rows["offset"][row]), int(self.rows["size"][row])

    def label(self, row: int) -> int | None:
        """Return what KEY.cls says."""
        label = int(self.rows["label"][row])
        return None if label == _UNLABELLED else label

    def key(self, row: int) -> str:
        """Return the sample's key: the member's path up to the first dot of its file name."""
        return os.fsdecode(bytes(self.rows["key"][row]))


@functools.lru_cache(maxsize=128)
def shard_index(path: Path, size: int, modified: int) -> ShardIndex:
    """Return the index of a shard of this size and time of modification in nanoseconds.

    It is kept in the user's cache folder (``UWT_EVAL_CACHE`` names another); where that cannot be
    written, headers are read again when needed. Indices of damaged shards are not kept.
    """
    identity = f"{VERSION}\0{path.resolve()}\0{size}\0{modified}"
    name = hashlib.sha256(os.fsencode(identity)).hexdigest()[:32] + ".npy"
    kept = _cache_folder() / "shards" / name
    with suppress(OSError, ValueError):
        rows = np.load(kept, mmap_mode="r", allow_pickle=False)
        if rows.dtype.names == _FIELDS:
            return ShardIndex(rows)
    index = read_index(path)
    if not index.damage:
        with suppress(OSError):
            _write(kept, index.rows)
    return index


def _cache_folder() -> Path:
    named = os.environ.get("UWT_EVAL_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("uwt-eval", appauthor=False)


def _write(path: Path, rows: NDArray[np.void]) -> None:
    """Write whole or not at all, under a name of its own: other processes may list it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, rows)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def read_index(path: Path) -> ShardIndex:
    """Read the headers of a tar; of a damaged one, those before the damage."""
    try:
        with path.open("rb") as file:
            members, damage = list_members(file)
            return ShardIndex(_images(file, members), damage)
    except OSError as error:
        return ShardIndex(_rows([]), f"cannot be read ({error.strerror})")


def list_members(file: BinaryIO) -> tuple[list[Member], str]:
    """List the files of a tar, of a damaged one those before the damage, and say what it is."""
    length = file.seek(0, os.SEEK_END)
    try:
        return _until_damage(_plain_members(file, length), length)
    except _Unusual:
        return _until_damage(_all_members(file), length)


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name into its sample's key and what follows, at the file name's first dot.

    The key is empty where the file name begins with its dot: such a file belongs to no sample.
    """
    folder, slash, filename = name.removeprefix("./").rpartition("/")
    stem, _, extension = filename.partition(".")
    return (folder + slash + stem if stem else ""), extension


def _images(file: BinaryIO, members: list[Member]) -> NDArray[np.void]:
    """Pair images with labels by key, as WebDataset does; one image a key."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    for name, offset, size in members:
        key, extension = split_name(name)
        if not key:
            continue
        if f".{extension.lower()}" in IMAGE_SUFFIXES:
            images.setdefault(key, (offset, size))
        elif extension.lower() == "cls" and size <= _LARGEST_LABEL_FILE:
            file.seek(offset)
            with suppress(ValueError):
                labels[key] = int(file.read(size))
    return _rows(
        [
            (offset, size, labels.get(key, _UNLABELLED), os.fsencode(key))
            for key, (offset, size) in images.items()
        ]
    )


def _rows(rows: list[tuple[int, int, int, bytes]]) -> NDArray[np.void]:
    width = max((len(key) for *_, key in rows), default=1)
    return np.array(rows, dtype=list(zip(_FIELDS, ("<i8", "<i8", "<i8", f"S{width}"), strict=True)))


class _Unusual(Exception):
    """The tar holds more than files and folders with plain names."""


def _until_damage(members: Iterable[Member], length: int) -> tuple[list[Member], str]:
    """List the members that lie wholly in a file of ``length`` bytes, and say what ended them."""
    found: list[Member] = []
    try:
        for name, offset, size in members:
            if offset + size > length:
                return found, f"it ends within {name}"
            found.append((name, offset, size))
    except (tarfile.TarError, ValueError, EOFError) as error:
        return found, str(error)
    return found, ""


def _plain_members(file: BinaryIO, length: int) -> Iterator[Member]:
    """Yield the files of a tar as nearly all shards are, several times faster than `tarfile`."""
    position = 0
    while True:
        file.seek(position)
        header = file.read(_BLOCK)
        if header == _EMPTY or position == length:
            return
        if len(header) < _BLOCK or not _is_header(header):
            raise tarfile.ReadError(f"no tar header at byte {position}")
        kind = header[156:157]
        if kind not in b"\x0005x" or header[124] & 0x80:
            raise _Unusual
        size = int(header[124:136].strip(b"\0 ") or b"0", 8)
        position += _BLOCK
        if kind == b"x":  # `webdataset` writes one a member, for times with fractions.
            extended = file.read(size)
            if any(field in extended for field in _PAX_CHANGES):
                raise _Unusual
        elif kind != b"5":
            parts = (header[345:500], header[:100])
            texts = (part.partition(b"\0")[0] for part in parts)
            yield "/".join(os.fsdecode(text) for text in texts if text), position, size
        position += -(-size // _BLOCK) * _BLOCK


def _is_header(header: bytes) -> bool:
    try:
        checksum = int(header[148:156].strip(b"\0 "), 8)
    except ValueError:
        return False
    return checksum == sum(header[:148]) + sum(header[156:]) + 8 * ord(" ")


def _all_members(file: BinaryIO) -> Iterator[Member]:
    """Yield the files of a tar of any kind."""
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isreg() and not member.issparse():
                yield member.name, member.offset_data, member.size
        check_tar_end(archive)
