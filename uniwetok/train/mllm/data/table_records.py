"""Captions with their images, from a column each of Parquet files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from uniwetok.train.data.places import Columns
from uniwetok.train.data.tables import Table
from uniwetok.train.mllm.data.records import Record, parse_record


class TableRecords:
    """A caption and its image a row."""

    notices: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    images: Path | None = None

    def __init__(self, files: Sequence[str], columns: Columns) -> None:
        """Read the footers, and choose the columns; raise `TrainingError` where that fails."""
        self._table = Table(files)
        self.paths = [Path(file) for file in files]
        self._image = self._table.image_column(columns.image)
        self._caption = self._table.caption_column(columns.caption)

    def __len__(self) -> int:
        return len(self._table)

    def record(self, index: int) -> Record:
        """Read a record; raise `RecordError` where there is no caption."""
        text = self._table.cell(index, self._caption)
        return parse_record({"kind": "text-image", "text": text, "image": self._image})

    def where(self, index: int) -> tuple[str, int]:
        """Return the file and the row, from 1."""
        file, row = self._table.place(index)
        return file, row + 1

    def image_key(self, index: int, name: str) -> str:
        """Return FILE/ROW.COLUMN."""
        file, row = self._table.place(index)
        return f"{file}/{row}.{name}"

    def image_file(self, index: int, name: str) -> Path:  # noqa: ARG002 (the table holds all)
        """Return the file of the row."""
        return Path(self._table.place(index)[0])

    def open_image(self, index: int, name: str) -> BinaryIO:
        """Open a row's image; raise `UnreadableImage` where there is none."""
        return io.BytesIO(self._table.encoded(index, name))
