"""SHA-256 of files: remembered while nothing says that a file has changed, or within the file.

Files of ours tell when a byte of theirs is no longer as it was written. Tables carry the SHA-256 of
their own bytes between the last page and the footer, where readers of Parquet look at nothing;
`.npz` files have the CRC-32 of every member that is part of zip; records have the digest of their
content within their provenance. What was written before there were checksums has none, and is read
as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISLNK
from typing import TYPE_CHECKING, Any

from harness.interfaces.errors import UserError, first_line
from harness.interfaces.types import digest_of
from uwt_images.listing import CLOCK_NS, state_of

if TYPE_CHECKING:  # Records are read without either, by the thousand.
    import pyarrow as pa
    from numpy.typing import NDArray

_READ_ANEW = 1 << 30
"""Bytes of weights that every process reads itself, which takes about a second."""
_A_QUERY = 500
"""Files that one query asks for; older SQLite takes 999 parameters."""
_MARK = b"sha256:"
_SEAL = len(_MARK) + hashlib.sha256().digest_size
_TAIL = 8
"""Bytes of the footer's length and of the format's name, which end a Parquet file."""
_FROM_COUNT = 12
"""Bytes from the number of members to the end of a zip file without comment."""
_FIELD = "sha256"


def sha256_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_of(path: str | Path) -> str:
    """What changes when a file is written or replaced, whatever its times are set to.

    Empty where the file was changed so lately that another change might leave the same stamp: the
    times of both would be one tick of the file system's clock.
    """
    return _stamp(os.stat(path))  # noqa: PTH116 (a Path for each of a million files takes seconds)


def _stamp(stat: os.stat_result) -> str:
    recent = max(stat.st_mtime_ns, stat.st_ctime_ns) + CLOCK_NS > time.time_ns()
    return "" if recent else state_of(stat)


_verified: dict[tuple[Path, str], str] = {}


def verified_sha256(path: Path) -> str:
    """A file's SHA-256 as this process has read it itself: what a published digest is held against.

    The cache on disk is not asked, for whoever writes to it could name any file the published one.
    """
    path = path.resolve()
    key = path, stamp_of(path)
    if key not in _verified:
        digest = sha256_file(path)
        if not key[1] or stamp_of(path) != key[1]:
            return digest
        _verified[key] = digest
    return _verified[key]


def weights_sha256(path: Path) -> str:
    """SHA-256 of a file of weights: read by this process itself unless it is a large one.

    Of a large file a row of the cache on disk is believed, which holds while size, times, inode and
    device are those of the file that was read.
    """
    if path.stat().st_size <= _READ_ANEW:
        return verified_sha256(path)
    return DigestCache().of_file(path)


class DigestCache:
    """Digests by (path, part) and the file's stamp; a lost cache costs time.

    Args:
        kind: Name of the table, where another fact than the digest is kept.
        path: The SQLite file; by default in the settings' cache folder. Where it cannot be
            written, digests are remembered in memory only.
    """

    def __init__(self, path: Path | None = None, kind: str = "stamped") -> None:
        if path is None:
            from harness.data.settings import read_settings

            path = read_settings().cache / "digests.sqlite"
        self._kind = kind
        self._stamps: dict[str, str] = {}
        """Of the files that were asked for, from before they were read."""
        self._folders: dict[str, str] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect(str(path))
        except (OSError, sqlite3.Error):
            self._connection = self._connect(":memory:")

    def _connect(self, target: str) -> sqlite3.Connection:
        connection = sqlite3.connect(target, timeout=30, check_same_thread=False)
        # Another name than that of the table by size and time alone, which is believed no more.
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._kind} (path TEXT, part TEXT, stamp TEXT, "
            "sha256 TEXT, PRIMARY KEY (path, part))"
        )
        return connection

    def known(self, path: Path) -> dict[str, str]:
        """Digests of a container's parts that still hold; '' is the file itself."""
        return self.known_of([str(path)])[str(path)]

    def known_of(self, paths: Iterable[str]) -> dict[str, dict[str, str]]:
        """What `known` says of many files; nothing of those that cannot be looked at."""
        found: dict[str, dict[str, str]] = {}
        by_key: dict[str, list[str]] = {}
        for path in paths:
            found[path] = {}
            with suppress(OSError):
                key, stamp = self._look(path)
                self._stamps[path] = stamp
                if stamp:
                    by_key.setdefault(key, []).append(path)
        keys = list(by_key)
        for start in range(0, len(keys), _A_QUERY):
            for key, part, stamp, digest in self._rows(keys[start : start + _A_QUERY]):
                for path in by_key[key]:
                    if self._stamps[path] == stamp:
                        found[path][part] = digest
        return found

    def _rows(self, keys: Sequence[str]) -> list[tuple[str, str, str, str]]:
        try:
            return self._connection.execute(
                f"SELECT path, part, stamp, sha256 FROM {self._kind} WHERE path IN "
                f"({','.join('?' * len(keys))})",
                keys,
            ).fetchall()
        except sqlite3.Error:  # A damaged file may open and fail where it is read.
            self._connection = self._connect(":memory:")
            return []

    def _look(self, path: str) -> tuple[str, str]:
        """The path without links, and the file's stamp.

        Of a million files a call to the system each is what counts: links of a folder are followed
        once, not for every file in it.
        """
        stat = os.lstat(path)
        if S_ISLNK(stat.st_mode):
            return os.path.realpath(path), stamp_of(path)
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(f"{folder}/" if path[0] == "/" else folder)
        return f"{self._folders[folder]}/{name}", _stamp(stat)

    def remember(self, entries: Iterable[tuple[str | Path, str, str]]) -> None:
        """Keep (file, part, digest) of files that `known` was asked for before they were read.

        A file that has changed since, or just before, is left out.
        """
        rows = []
        now: dict[str, tuple[str, str]] = {}
        for place, part, digest in entries:
            path = str(place)
            if path not in now:
                now[path] = "", ""
                with suppress(OSError):  # It may have gone away.
                    now[path] = self._look(path)
            key, stamp = now[path]
            if stamp and stamp == self._stamps.get(path):
                rows.append((key, part, stamp, digest))
        try:
            with self._connection:
                self._connection.executemany(
                    f"INSERT OR REPLACE INTO {self._kind} VALUES (?, ?, ?, ?)", rows
                )
        except sqlite3.Error:
            self._connection = self._connect(":memory:")

    def of_file(self, path: Path, compute: Callable[[Path], str] = sha256_file) -> str:
        """The file's digest, computed only if it has changed since it was last asked for."""
        known = self.known(path).get("")
        if known is None:
            known = compute(path)
            self.remember([(path, "", known)])
        return known


class Damaged(UserError):
    """A file's bytes are not those that were written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged ({reason}): remove it and run the same command again")
        self.reason = reason


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file with its checksum."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    # Features hardly repeat: a dictionary of them takes six times as long and makes files larger.
    pq.write_table(table, sink, use_dictionary=False)
    data = memoryview(sink.getvalue())
    footer = _footer(data)
    seal = _MARK + hashlib.sha256(data).digest()
    path.write_bytes(b"".join([data[:footer], seal, data[footer:]]))


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, or those of its columns that are named.

    Raises:
        Damaged: It is not as it was written.
        FileNotFoundError: There is none, or something that is no file.
        OSError: It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_regular(path)
    data = memoryview(path.read_bytes())
    footer = _footer(data)
    seal = bytes(data[footer - _SEAL : footer]) if footer >= _SEAL else b""
    if seal.startswith(_MARK):
        digest = hashlib.sha256(data[: footer - _SEAL])
        digest.update(data[footer:])
        if _MARK + digest.digest() != seal:
            raise Damaged(path, "its checksum differs")
    try:
        # `pq.read_table` would import pandas, and take ten times as long for a small file.
        # A thread a column is worth its while where there are many numbers in it.
        parts = pq.ParquetFile(pa.BufferReader(data))
        table = parts.read(columns, use_threads=columns is None)
    except (OSError, pa.ArrowException) as error:
        raise Damaged(path, first_line(error)) from error
    if lacking := set(columns or ()) - set(table.column_names):
        raise Damaged(path, f"it has no {', '.join(sorted(lacking))}")
    return table


def _check_regular(path: Path) -> None:
    """Raise `FileNotFoundError` for all but a file: opening a FIFO waits for ever."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file")


def _footer(data: memoryview) -> int:
    """Where the footer of a Parquet file begins; below 0 where there is none."""
    return len(data) - _TAIL - int.from_bytes(data[-_TAIL:-4], "little")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an `.npz` file.

    Raises:
        Damaged: It is not as it was written.
        FileNotFoundError: There is none.
    """
    import numpy as np

    check_arrays(path)
    with _damage_of(path), np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def check_arrays(path: Path) -> None:
    """Read an `.npz` file of any size a piece at a time; raises as `read_arrays`."""
    _check_regular(path)
    with _damage_of(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        # Numpy alone would not look at the checksum of an array whose header is damaged.
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged!r} differs")
        # The directory has no checksum: a member may have gone from it.
        file.seek(-_FROM_COUNT, os.SEEK_END)
        if int.from_bytes(file.read(2), "little") != len(archive.infolist()):
            raise ValueError("its directory is not whole")


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        # Damaged bytes make readers of zip raise nearly any exception.
        raise Damaged(path, first_line(error)) from error


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record, as JSON, with the digest of its content in its provenance."""
    return {**record, "provenance": {**record["provenance"], _FIELD: digest_of(record)}}


def read_record(path: Path) -> dict[str, Any]:
    """Read the record that `sealed` has written into a file.

    Raises:
        Damaged: its content is not what was written.
        OSError, ValueError, RecursionError: it cannot be read, or not as JSON.
    """
    return unsealed(json.loads(path.read_bytes()), path)


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether a record has a checksum; older versions wrote none."""
    provenance = record.get("provenance")
    return isinstance(provenance, dict) and _FIELD in provenance


def unsealed(record: Any, path: Path) -> dict[str, Any]:
    """What `sealed` was given; raise `Damaged` where the content is another, or no record."""
    if not isinstance(record, dict):
        raise Damaged(path, f"it holds a {type(record).__name__} in place of a record")
    if not is_sealed(record):
        return record
    provenance = record["provenance"]
    digest = provenance[_FIELD]
    content = {
        **record,
        "provenance": {name: fact for name, fact in provenance.items() if name != _FIELD},
    }
    if digest_of(content) != digest:
        raise Damaged(path, "its checksum differs")
    return content
