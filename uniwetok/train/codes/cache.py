"""The cache of codes: an array of packed bits and a header that says what was encoded, and how.

```
FOLDER/codes.npy     uint8 (images, views, bytes), see `uniwetok.tokenizer.quantizer.pack`, and the
                     CRC-32 of each view's bytes behind them
FOLDER/codes.json    `Header`; written last, so that it stands for a whole cache
```

The last two views are the center crop and its mirror image; those before are random ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniwetok.train import TrainingError
from uniwetok.train.codes.integrity import (
    CHECKSUM,
    content_digest,
    read_sealed,
    readable,
    state_digest,
    without_checksums,
    write_sealed,
)
from uniwetok.train.data.source import ImageSource
from uniwetok.train.engine.settings import EncodingPrecision

ARRAY_FILE = "codes.npy"
HEADER_FILE = "codes.json"
CENTER_VIEWS = 2
_VERSION = 2
_SHOWN_DIGITS = 10


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a cache's codes depend on."""

    version: int = _VERSION
    """Version of the format and of the views' arithmetic."""
    tokenizer: str
    """Digest of the encoder, see `encoder_digest`."""
    data: str
    """Digest of the images' names, classes and content, see `data_digest`."""
    resolution: int
    """Side of a view in pixels."""
    views: int
    """Random views of an image."""
    smallest_crop: float
    """Smallest side of a random view over the image's shorter side."""
    latent_channels: int
    """Bits of a token."""
    grid: int
    """Tokens along a side."""
    precision: EncodingPrecision = "float32"
    """Precision of the encoder; older caches, which do not say it, are of this one."""

    @property
    def bytes_per_view(self) -> int:
        """Size of one view's codes (paper: 1 KiB)."""
        return self.grid**2 * -(-self.latent_channels // 8)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What lies in a cache."""

    origin: Origin
    labels: list[int]
    """Class of every image."""
    unreadable: list[int]
    """Images without codes, for they could not be read."""
    stamp: str = ""
    """State of the images' files when their content was read, see `data_stamp`."""


class Codes:
    """A whole cache, mapped into memory.

    Attributes:
        header: what it holds.
        labels: int64 (images,).
        readable: bool (images,).
    """

    def __init__(self, header: Header, array: NDArray[np.uint8]) -> None:
        self.header = header
        self.labels = np.array(header.labels, np.int64)
        self.readable = np.ones(len(self.labels), bool)
        self.readable[header.unreadable] = False
        self._array = array

    def __len__(self) -> int:
        """Return the number of images, those without codes too."""
        return len(self.labels)

    def read(self, images: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the packed codes of one view of each image, uint8 (n, bytes).

        Raises:
            TrainingError: they are not those that were written.
        """
        # In order of place, for a disk's sake.
        order = np.argsort(images, kind="stable")
        rows = np.empty((len(images), self._array.shape[2]), np.uint8)
        rows[order] = self._array[images[order], views[order]]
        file = getattr(self._array, "filename", ARRAY_FILE)
        return without_checksums(
            rows, lambda row: f"{file}: the codes of image {images[row]}, view {views[row]}"
        )


def open_codes(folder: Path) -> Codes | None:
    """Open a cache; None where there is none, or it is not whole yet.

    Raises:
        TrainingError: the files do not fit each other or cannot be read.
    """
    if not (folder / HEADER_FILE).is_file():
        return None
    with readable(folder):
        values = read_sealed(folder / HEADER_FILE)
        if values["origin"]["version"] != _VERSION:
            raise ValueError("they are of another version")
        header = Header(**{**values, "origin": Origin(**values["origin"])})
        array = np.load(folder / ARRAY_FILE, mmap_mode="r", allow_pickle=False)
    shape = array_shape(header.origin, len(header.labels))
    if array.shape != shape or array.dtype != np.uint8:
        raise TrainingError(
            f"{folder / ARRAY_FILE}: holds {array.dtype} {array.shape}, its header says uint8 "
            f"{shape}; remove the folder to encode anew"
        )
    return Codes(header, array)


def array_shape(origin: Origin, images: int) -> tuple[int, int, int]:
    """Shape of a cache's array."""
    return images, origin.views + CENTER_VIEWS, origin.bytes_per_view + CHECKSUM


def write_header(folder: Path, header: Header) -> None:
    """Declare a cache whole."""
    write_sealed(folder / HEADER_FILE, asdict(header))


def check_origin(folder: Path, found: Origin, wanted: dict[str, Any]) -> None:
    """Refuse codes that were made from other inputs or settings.

    Args:
        folder: of the cache, for the error.
        found: what it was made from.
        wanted: fields of `Origin` that are known, and their values.

    Raises:
        TrainingError: a field differs; the message names it and what to do.
    """
    if found.tokenizer != wanted.get("tokenizer", found.tokenizer):
        raise TrainingError(
            f"{folder}: these codes were made by another tokenizer (encoder "
            f"{found.tokenizer[:_SHOWN_DIGITS]}…, given is {wanted['tokenizer'][:_SHOWN_DIGITS]}…);"
            f" give the tokenizer they were made by, or another --codes folder"
        )
    if found.data != wanted.get("data", found.data):
        raise TrainingError(
            f"{folder}: these codes are of other images (names, classes or content differ); give "
            f"the --data they were made from, or another --codes folder"
        )
    for name in (field.name for field in fields(Origin)):
        if name in wanted and wanted[name] != getattr(found, name):
            raise TrainingError(
                f"{folder}: these codes were made with {name}={getattr(found, name)}, asked for is "
                f"{name}={wanted[name]}; give another --codes folder"
            )


def data_digest(source: ImageSource) -> str:
    """SHA-256 of the images' names and classes, in order, and of the files that hold them.

    All of them are read: `data_stamp` tells whether that is needed.
    """
    return content_digest(_names(source), source.files())


def data_stamp(source: ImageSource) -> str:
    """SHA-256 of the images' names and classes, and of the state of the files that hold them.

    Empty where a file was changed so lately that another change might not show.
    """
    return state_digest(_names(source), source.files())


def _names(source: ImageSource) -> Iterator[str]:
    return (f"{source.id(index)}\0{source.label(index)}" for index in range(len(source)))


def class_labels(source: ImageSource, classes: int) -> list[int]:
    """Give the class of every image.

    Raises:
        TrainingError: an image has no class, or one that the model has not.
    """
    labels = [source.label(index) for index in range(len(source))]
    for index, label in enumerate(labels):
        if label is None:
            raise TrainingError(
                f"image {source.id(index)!r} has no class: give a folder with a sub-folder a class"
            )
        if label >= classes:
            raise TrainingError(
                f"image {source.id(index)!r} is of class {label}, the model has classes "
                f"0..{classes - 1}; raise model.classes"
            )
    return [label for label in labels if label is not None]
