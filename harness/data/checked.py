"""Files that tell when a byte of theirs is no longer as it was written.

Tables carry the SHA-256 of their own bytes between the last page and the footer, where readers of
Parquet look at nothing; `.npz` files have the CRC-32 of every member that is part of zip; records
have the digest of their content within their provenance. What was written before there were
checksums has none, and is read as it is.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.interfaces.errors import UserError, first_line
from harness.interfaces.types import digest_of

if TYPE_CHECKING:  # Records are read without either, by the thousand.
    import pyarrow as pa
    from numpy.typing import NDArray

_MARK = b"sha256:"
_SEAL = len(_MARK) + hashlib.sha256().digest_size
_TAIL = 8
"""Bytes of the footer's length and of the format's name, which end a Parquet file."""
_FROM_COUNT = 12
"""Bytes from the number of members to the end of a zip file without comment."""
_FIELD = "sha256"


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
    pq.write_table(table, sink)
    data = memoryview(sink.getvalue())
    footer = _footer(data)
    seal = _MARK + hashlib.sha256(data).digest()
    path.write_bytes(b"".join([data[:footer], seal, data[footer:]]))


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, or those of its columns that are named.

    Raises:
        Damaged: It is not as it was written.
        OSError: It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = memoryview(path.read_bytes())
    footer = _footer(data)
    seal = bytes(data[footer - _SEAL : footer]) if footer >= _SEAL else b""
    if seal.startswith(_MARK):
        digest = hashlib.sha256(data[: footer - _SEAL])
        digest.update(data[footer:])
        if _MARK + digest.digest() != seal:
            raise Damaged(path, "its checksum differs")
    try:
        return pq.read_table(pa.BufferReader(data), columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise Damaged(path, first_line(error)) from error


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

    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            # Numpy alone would not look at the checksum of an array whose header is damaged.
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged!r} differs")
            # The directory has no checksum: a member may have gone from it.
            file.seek(-_FROM_COUNT, os.SEEK_END)
            if int.from_bytes(file.read(2), "little") != len(archive.infolist()):
                raise ValueError("its directory is not whole")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise
    except Exception as error:
        # Damaged bytes make readers of zip raise nearly any exception.
        raise Damaged(path, first_line(error)) from error


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record, as JSON, with the digest of its content in its provenance."""
    return {**record, "provenance": {**record["provenance"], _FIELD: digest_of(record)}}


def unsealed(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """What `sealed` was given; raise `Damaged` where the content is another."""
    provenance = record.get("provenance")
    if not isinstance(provenance, dict) or _FIELD not in provenance:
        return record
    digest = provenance[_FIELD]
    content = {
        **record,
        "provenance": {name: fact for name, fact in provenance.items() if name != _FIELD},
    }
    if digest_of(content) != digest:
        raise Damaged(path, "its checksum differs")
    return content
