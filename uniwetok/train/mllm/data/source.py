"""Where records and their images lie: lines of JSON beside a folder, or WebDataset shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniwetok.train import TrainingError
from uniwetok.train.data.source import decode_rgb
from uniwetok.train.mllm.data.records import Record, parse_line
from uwt_images.decoding import RASTER_FORMATS
from uwt_images.listing import UnreadableImage, open_image_file

_CHUNK = 2**24


class RecordSource(Protocol):
    """Records by number, 0 to len() - 1; may be pickled, and read from several processes."""

    notices: tuple[str, ...]
    """What the user must know of how the files were chosen."""

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    images: Path | None
    """Folder that all images are named relative to, where there is one."""

    @property
    def paths(self) -> Sequence[Path]:
        """Files of the records."""
        ...

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged while listing, a line each; its readable part is used."""
        ...

    def record(self, index: int) -> Record:
        """Read a record.

        Raises:
            RecordError: it is malformed.
        """
        ...

    def where(self, index: int) -> tuple[str, int]:
        """Return the file of a record, and its line or its place in the shard, from 1."""
        ...

    def image_key(self, index: int, name: str) -> str:
        """Return what is the same wherever records name the same image."""
        ...

    def image_file(self, index: int, name: str) -> Path:
        """Return the file that holds an image, whether it is there or not."""
        ...

    def open_image(self, index: int, name: str) -> BinaryIO:
        """Open the file of an image that a record names.

        Raises:
            UnreadableImage: it is not there.
        """
        ...


class JsonlRecords:
    """Records of one or more files of JSON lines; images are named relative to ``images``."""

    damage: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    def __init__(self, paths: Sequence[Path], images: Path | None = None) -> None:
        """Find the lines; empty ones are passed over.

        Args:
            paths: of the files, in order.
            images: folder that images are named relative to; that of each file if None.

        Raises:
            TrainingError: a file cannot be read, or none holds a line.
        """
        self.paths = list(paths)
        self.images = images
        self._starts: list[NDArray[np.int64]] = []
        self._lines: list[NDArray[np.int64]] = []
        for path in self.paths:
            try:
                starts, lines = _find_lines(path)
            except OSError as error:
                raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
            self._starts.append(starts)
            self._lines.append(lines)
        self._ends = np.cumsum([len(lines) for lines in self._lines])
        if not len(self):
            raise TrainingError(f"{self.paths[0]}: holds no record; write one JSON object a line")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def record(self, index: int) -> Record:
        """Read a record; raise `RecordError` where it is malformed."""
        file, row = self._locate(index)
        start, stop = self._starts[file][row : row + 2]
        with self.paths[file].open("rb") as lines:
            lines.seek(int(start))
            return parse_line(lines.read(int(stop - start)))

    def where(self, index: int) -> tuple[str, int]:
        """Return the file and the line, from 1."""
        file, row = self._locate(index)
        return str(self.paths[file]), int(self._lines[file][row])

    def image_key(self, index: int, name: str) -> str:
        """Return the image's path."""
        return str(self.image_file(index, name))

    def image_file(self, index: int, name: str) -> Path:
        """Return the image's own file."""
        file, _ = self._locate(index)
        return (self.images or self.paths[file].parent) / PurePosixPath(name)

    def open_image(self, index: int, name: str) -> BinaryIO:
        """Open the file of an image; raise `UnreadableImage` where that fails."""
        path = self.image_file(index, name)
        try:
            return open_image_file(path)
        except UnreadableImage as error:
            raise UnreadableImage(f"{path} {error}") from error

    def _locate(self, index: int) -> tuple[int, int]:
        file = int(np.searchsorted(self._ends, index, side="right"))
        return file, index - int(self._ends[file] - len(self._lines[file]))


def _find_lines(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give where the lines that are not blank start, and the end of the last; and their numbers."""
    breaks = []
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
            breaks.append(found + size + 1)
            size += len(chunk)
        edges = np.unique(np.concatenate([[0], *breaks, [size]]).astype(np.int64))
        blank = []
        for row in np.flatnonzero(np.diff(edges) <= 3):
            file.seek(int(edges[row]))
            if not file.read(int(edges[row + 1] - edges[row])).strip():
                blank.append(int(row))
    lines = np.delete(np.arange(len(edges) - 1), blank)
    # A blank line after a record is read with it, which JSON does not mind.
    return np.append(edges[lines], size), lines + 1


def image_size(source: RecordSource, index: int, name: str) -> tuple[int, int]:
    """Read height and width from the header of an image.

    Raises:
        UnreadableImage: it is not there or no image.
    """
    with source.open_image(index, name) as file:
        try:
            with Image.open(file, formats=RASTER_FORMATS) as image:
                return image.height, image.width
        except MemoryError:
            raise
        except Exception as error:
            # Damaged bytes make Pillow's readers raise nearly any exception.
            raise UnreadableImage(f"{name} is not a readable image ({_reason(error)})") from error


def read_image(source: RecordSource, index: int, name: str) -> Image.Image:
    """Decode an image of a record to 8-bit RGB.

    Raises:
        UnreadableImage: it is not there or cannot be decoded; the message names record and image.
    """
    try:
        with source.open_image(index, name) as file:
            return decode_rgb(file.read())
    except (UnreadableImage, OSError) as error:
        where, line = source.where(index)
        raise UnreadableImage(f"{where}:{line}: image {name!r}: {error}") from error


def _reason(error: Exception) -> str:
    text, of_file, _ = str(error).partition(" <_io")
    return f"{text} it" if of_file else text
