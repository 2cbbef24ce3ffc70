"""Parquet files with an image column: rows by number, read a row group at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from uniwetok.train import TrainingError
from uniwetok.train.data.places import Columns
from uniwetok.train.data.source import decode_rgb
from uwt_images.listing import UnreadableImage, check_size, read_image_file

_THREADS = 16
_MOST_BYTES = 1 << 30
"""Of row groups that a process keeps; one is kept whatever its size."""
_CAPTIONS = ("caption", "text", "txt", "prompt", "alt_text")
_LABELS = ("label", "cls", "class")


class Table:
    """Rows of some Parquet files of the same columns, one file after the other.

    Files may lie anywhere that fsspec reads, such as ``hf://datasets/…``: no more is read of them
    than the row groups that are asked for, and of these only the columns.

    Attributes:
        files: of the rows, in order.
        parts: rows of each row group.
    """

    def __init__(self, files: Sequence[str]) -> None:
        """Read the footers.

        Raises:
            TrainingError: a file cannot be read, has other columns, or all are empty.
        """
        self.files = list(files)
        with ThreadPoolExecutor(_THREADS) as pool:
            self._footers = list(pool.map(_footer, self.files))
        self.schema = self._footers[0].schema.to_arrow_schema()
        for file, footer in zip(self.files, self._footers, strict=True):
            names = footer.schema.to_arrow_schema().names
            if names != self.schema.names:
                raise TrainingError(
                    f"{file}: has columns {', '.join(names)}, {self.files[0]} has "
                    f"{', '.join(self.schema.names)}; give files of the same columns"
                )
        self._groups = [
            (file, group, footer.row_group(group).num_rows)
            for file, footer in enumerate(self._footers)
            for group in range(footer.num_row_groups)
            if footer.row_group(group).num_rows
        ]
        self.parts = np.array([rows for *_, rows in self._groups], np.int64)
        self._ends = np.cumsum(self.parts)
        self._file_ends = np.cumsum([footer.num_rows for footer in self._footers])
        if not len(self._groups):
            raise TrainingError(f"{self.files[0]}: holds no row; remove it from the data")
        # Of the process that reads; a copy for a worker begins without.
        self._kept: OrderedDict[tuple[int, str], Any] = OrderedDict()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": OrderedDict()}

    def place(self, row: int) -> tuple[str, int]:
        """Return the file of a row, and the row's number in it, from 0."""
        file = int(np.searchsorted(self._file_ends, row, side="right"))
        return self.files[file], row - int(self._file_ends[file] - self._footers[file].num_rows)

    def cell(self, row: int, column: str) -> Any:
        """Read what a row holds in a column; raise `TrainingError` where the file is damaged."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        values = self._column(group, column)
        return values[row - int(self._ends[group] - self.parts[group])].as_py()

    def _column(self, group: int, column: str) -> Any:
        key = (group, column)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        file, number, rows = self._groups[group]
        try:
            with pq.ParquetFile(_opened(self.files[file]), metadata=self._footers[file]) as table:
                values = table.read_row_group(number, columns=[column]).column(column)
        except (OSError, pa.ArrowException) as error:
            raise TrainingError(
                f"{self.files[file]}: row group {number} cannot be read ({_line(error)}); "
                f"download it again"
            ) from error
        if len(values) != rows:
            raise TrainingError(f"{self.files[file]} was changed during the run; start it again")
        while (
            self._kept and values.nbytes + sum(v.nbytes for v in self._kept.values()) > _MOST_BYTES
        ):
            self._kept.popitem(last=False)
        self._kept[key] = values
        return values

    def column(self, asked: str | None, what: str, usual: Sequence[str], fits: list[str]) -> str:
        """Choose a column: that which is asked for, or the only one, or the first usual one.

        Raises:
            TrainingError: there is none, or there are several.
        """
        names = ", ".join(self.schema.names)
        if asked is not None:
            if asked not in self.schema.names:
                raise TrainingError(f"{self.files[0]}: has no column {asked!r}, only {names}")
            return asked
        chosen = next((name for name in usual if name in fits), None)
        if chosen is None and len(fits) == 1:
            chosen = fits[0]
        if chosen is None:
            raise TrainingError(
                f"{self.files[0]}: which of its columns ({names}) is the {what}? say so in a TOML "
                f'file of sources: {what} = "COLUMN"'
            )
        return chosen

    def image_column(self, asked: str | None) -> str:
        """Choose the column of the images: of bytes, or of structures that hold bytes."""
        fits = [field.name for field in self.schema if _holds_bytes(field.type)]
        return self.column(asked, "image", ("image", "img", "jpg", "png", "webp"), fits)

    def caption_column(self, asked: str | None) -> str:
        """Choose the column of the captions: of text."""
        fits = [each.name for each in self.schema if _is_text(each.type)]
        return self.column(asked, "caption", _CAPTIONS, fits)

    def encoded(self, row: int, column: str) -> bytes:
        """Read the bytes of an image, from the table or from the file that it names.

        Raises:
            UnreadableImage: there are none.
        """
        value = self.cell(row, column)
        if not isinstance(value, dict):
            value = {"path" if isinstance(value, str) else "bytes": value}
        data, path = value.get("bytes"), value.get("path")
        if data is not None:
            check_size(len(data))
            return bytes(data)
        if not path:
            raise UnreadableImage("there is no image")
        file, _ = self.place(row)
        return read_image_file(Path(file).parent / PurePosixPath(path))


class TableImages:
    """Images of a column of Parquet files, with classes where there is a column of them.

    Attributes:
        table: the files.
        notices: what the user must know of the listing.
    """

    def __init__(
        self, files: Sequence[str], columns: Columns, notices: tuple[str, ...] = ()
    ) -> None:
        """Read the footers, and choose the column; raise `TrainingError` where that fails."""
        self.table = Table(files)
        self.notices = notices
        self._image = self.table.image_column(columns.image)
        integers = [each.name for each in self.table.schema if pa.types.is_integer(each.type)]
        self._label = next((name for name in _LABELS if name in integers), None)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def parts(self) -> NDArray[np.int64]:
        """Images of each row group."""
        return self.table.parts

    def files(self) -> Iterator[Path]:
        """Yield the files."""
        return map(Path, self.table.files)

    def read(self, index: int, covering: tuple[int, int] | None = None) -> Image.Image:
        """Decode an image; raise `UnreadableImage` where that fails."""
        try:
            return decode_rgb(self.table.encoded(index, self._image), covering)
        except UnreadableImage as error:
            raise UnreadableImage(f"{self.id(index)}: {error}") from error

    def label(self, index: int) -> int | None:
        """Return what the column of classes says, where there is one."""
        return None if self._label is None else self.table.cell(index, self._label)

    def id(self, index: int) -> str:
        """Return FILE/ROW, the row counted from 0."""
        file, row = self.table.place(index)
        return f"{file}/{row}"


def _opened(file: str) -> Any:
    """Open a local file by its path, and another through fsspec."""
    if "://" not in file:
        return file
    import fsspec

    return fsspec.open(file, "rb").open()


def _footer(file: str) -> pq.FileMetaData:
    try:
        with pq.ParquetFile(_opened(file)) as table:
            return table.metadata
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"{file}: is not readable Parquet ({_line(error)})") from error


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(number).name == "bytes" for number in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
