"""A folder of codes: tables or WebDataset shards, and `codes.json`, which says what they are.

```
CODES/codes.json               `CodesHeader`; written last, so that it stands for a whole folder
CODES/codes-00000.parquet      a row an image: id, payload, bits, height, width
CODES/codes-00000.tar          or so: 00000012.code, the payload, and 00000012.json, the rest
```
"""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, ValidationError

from harness.data.digests import Damaged, sha256_file
from harness.data.manifest import opened
from harness.data.store import Store
from harness.interfaces.errors import UserError, first_line
from harness.interfaces.types import ModelCard, Record

HEADER = "codes.json"
WORK = ".work"
"""Below --out: the run directories, from which a command that was cut goes on."""
_DEEPEST, _LONGEST = 32, 240
"""Folders of a path, and bytes of each, with room for an ending: file systems take 255."""
Format = Literal["parquet", "webdataset"]
_ROWS: dict[Format, int] = {"parquet": 50_000, "webdataset": 10_000}
"""Images a file."""
_SUFFIX: dict[Format, str] = {"parquet": ".parquet", "webdataset": ".tar"}
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("payload", pa.binary()),
        ("bits", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
    ]
)
"""Of a table of codes."""


class CodesFile(Record):
    """One file of codes."""

    name: str
    rows: int
    sha256: str


class CodesHeader(Record):
    """What a folder of codes holds."""

    version: Literal[1] = 1
    model: ModelCard
    choice: str = Field(description="The model as `--model` names it.")
    protocol: str = Field(description="Which pixels were encoded.")
    protocol_digest: str
    dataset: str
    dataset_digest: str
    failed: int = Field(description="Images without codes.")
    format: Format
    files: tuple[CodesFile, ...]

    @property
    def n(self) -> int:
        """Images with codes."""
        return sum(file.rows for file in self.files)


def write_codes(folder: Path, header: CodesHeader, rows: Iterable[pa.Table]) -> CodesHeader:
    """Write rows of codes below a folder, in place of what is there; the header comes last.

    Args:
        folder: Where they go.
        header: What they are, but for the files.
        rows: Tables of `SCHEMA`, in order.
    """
    store = Store(folder)
    (folder / HEADER).unlink(missing_ok=True)
    for suffix in _SUFFIX.values():
        for old in folder.glob(f"codes-*{suffix}"):
            old.unlink()
    files = []
    for number, table in enumerate(_cut(rows, _ROWS[header.format])):
        name = f"codes-{number:05d}{_SUFFIX[header.format]}"
        first = number * _ROWS[header.format]
        write = partial(_write, table=table, first=first, form=header.format)
        path = store.write(name, write)
        files.append(CodesFile(name=name, rows=table.num_rows, sha256=sha256_file(path)))
    whole = header.model_copy(update={"files": tuple(files)})
    store.write_json(HEADER, whole.model_dump(mode="json"))
    return whole


def _cut(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The rows of all tables in tables of `size`; the last may be shorter."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        while count >= size:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, size)
            waiting, count = [joined.slice(size)], count - size
    if count:
        yield pa.concat_tables(waiting)


def _write(path: Path, table: pa.Table, first: int, form: Format) -> None:
    if form == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, path, use_dictionary=False, compression="none")
        return
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for number, row in enumerate(table.to_pylist(), first):
            payload = row.pop("payload")
            for suffix, content in (("code", payload), ("json", json.dumps(row).encode())):
                # Numbers name the members: a reader of shards cuts names at their first dot.
                member = tarfile.TarInfo(f"{number:08d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def read_header(folder: Path) -> CodesHeader:
    """Read what a folder of codes holds; raise `UserError` where it is none."""
    path = folder / HEADER
    if not path.is_file():
        raise UserError(f"{folder} holds no codes: `uwt-eval encode` writes {HEADER} there")
    try:
        return CodesHeader.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(
            f"{path}: {place}: {first['msg']}; not as this version of `uwt-eval encode` writes it: "
            "encode again, or install the version that did"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}): encode again") from error


def whole(path: Path, file: CodesFile) -> bool:
    """Whether a file is there as it was written."""
    return path.is_file() and sha256_file(path) == file.sha256


class Codes:
    """A folder's codes with random access; safe to read from several threads.

    Raises:
        UserError: The folder holds none, or a file is missing, is not the one that was written, or
            names an image outside of the folder or twice.
    """

    def __init__(self, folder: Path) -> None:
        self.header = read_header(folder)
        self._folder = folder
        self._lock = threading.Lock()
        self._table = lru_cache(maxsize=2)(self._read)
        self._places: dict[str, tuple[int, int]] = {}
        if not self.header.n:
            raise UserError(f"{folder} holds no codes: every image failed, or there was none")
        for number, file in enumerate(self.header.files):
            self._check(folder / file.name, file)
            for row, name in enumerate(self._table(number)["id"].to_pylist()):
                if not _inside(name):
                    raise UserError(f"{folder / file.name}: {name!r} is no name of an image")
                if name in self._places:
                    raise UserError(f"{folder / file.name}: {name!r} is there twice")
                self._places[name] = number, row

    def _check(self, path: Path, file: CodesFile) -> None:
        if PurePosixPath(file.name).name != file.name or not path.is_file():
            raise UserError(
                f"{self._folder / HEADER} names {file.name!r}, which is not there: "
                "`uwt-eval encode` into the same --out writes it again"
            )
        if not whole(path, file):
            raise UserError(
                f"{path} is damaged, its checksum differs: `uwt-eval encode` into the same --out "
                "writes it again"
            )

    def ids(self) -> Sequence[str]:
        """The images' names, in the order of the files."""
        return list(self._places)

    def read(self, image_id: str) -> dict[str, Any]:
        """One image's payload, bits, height and width."""
        number, row = self._places[image_id]
        with self._lock:
            table = self._table(number)
        found: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
        return found

    def _read(self, number: int) -> pa.Table:
        file = self.header.files[number]
        path = self._folder / file.name
        try:
            if self.header.format == "parquet":
                import pyarrow.parquet as pq

                table = pq.ParquetFile(path).read(SCHEMA.names)
            else:
                table = _of_tar(path)
            table = table.cast(SCHEMA)
        except (OSError, KeyError, ValueError, tarfile.TarError, pa.ArrowException) as error:
            raise Damaged(path, first_line(error)) from error
        if table.num_rows != file.rows or any(column.null_count for column in table.columns):
            raise Damaged(path, f"not {file.rows} whole rows")
        return table


def open_codes(folder: Path) -> Codes:
    """A folder's codes, read and held against their checksums once a command; raises as `Codes`."""
    known = opened()
    key = ("codes", folder)
    if key not in known:
        known[key] = Codes(folder)
    found: Codes = known[key]
    return found


def _of_tar(path: Path) -> pa.Table:
    rows: dict[str, dict[str, Any]] = {}
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            key, _, suffix = member.name.partition(".")
            content = archive.extractfile(member)
            if content is None:
                raise ValueError(f"{member.name} is no file")
            data = content.read()
            known = {"payload": data} if suffix == "code" else json.loads(data)
            rows.setdefault(key, {}).update(known)
    return pa.Table.from_pylist(list(rows.values()), SCHEMA)


def _inside(name: str) -> bool:
    """Whether a name is a relative path that leads nowhere else, and that a disk can hold."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and parts[0] not in ("/", WORK)
        and ".." not in parts
        and "\0" not in name
        and len(parts) <= _DEEPEST
        and all(len(part.encode()) <= _LONGEST for part in parts)
    )
