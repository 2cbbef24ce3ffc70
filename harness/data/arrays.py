"""Images in an `.npz` file, as ADM's sampler writes them and its evaluation reads them."""

from __future__ import annotations

import shutil
import tempfile
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from harness.data.digests import DigestCache, sha256_file
from harness.interfaces.errors import UserError, counted

UNREADABLE_ARRAYS = (
    *(ValueError, OSError, KeyError, EOFError, SyntaxError, OverflowError, NotImplementedError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What numpy and zipfile raise on files that are none of theirs."""
_LOCAL_HEADER = 30


class ArrayImages:
    """Images of an `.npz` file: `arr_0` (N, H, W, 3), uint8 or float in [0, 1].

    They are mapped, not read: 50,000 images take no memory. A compressed array is unpacked into a
    nameless file in the cache folder first. `arr_1`, where there is one, holds class labels.
    """

    def __init__(self, path: Path) -> None:
        self.label = path.name
        self.digest = DigestCache().of_file(path, _digest_of_whole)
        self._path = path
        self._images = _mapped(path, "arr_0")
        if self._images.ndim != 4 or self._images.shape[3] != 3:
            raise UserError(
                f"{path}: arr_0 has shape {self._images.shape}, expected images (N, H, W, 3)"
            )
        if self._images.dtype != np.uint8 and self._images.dtype.kind != "f":
            raise UserError(f"{path}: arr_0 is {self._images.dtype}, expected uint8 or float")
        self.ids = [f"{index:06d}" for index in range(len(self._images))]
        self._labels = _labels(path)
        if self._labels is not None and len(self._labels) != len(self.ids):
            raise UserError(
                f"{path}: arr_1 has {counted(len(self._labels), 'label')} for "
                f"{counted(len(self.ids), 'image')}: give each image one, or leave arr_1 out"
            )

    @property
    def class_sorted(self) -> bool:
        """Whether the order is known to go class by class."""
        labels = self._labels
        if labels is None or len(labels) < 2:
            return False
        return bool((labels[1:] >= labels[:-1]).all() and labels[0] != labels[-1])

    @property
    def classes(self) -> list[int] | None:
        """Each image's class; None where there are no labels, or texts."""
        labels = self._labels
        if labels is None or labels.dtype.kind not in "iuf":
            return None
        whole = [int(label) for label in labels if float(label).is_integer()]
        return whole if len(whole) == len(labels) else None

    def load(self, index: int) -> np.ndarray:
        """One image as uint8 (H, W, 3); floats are rounded to 256 levels."""
        image = self._images[index]
        if image.dtype == np.uint8:
            return np.asarray(image)
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):
            raise UserError(
                f"{self._path}: image {index} spans [{low:g}, {high:g}], floats must lie in [0, 1]"
            )
        levels: np.ndarray = np.round(image * 255).astype(np.uint8)
        return levels


def is_arrays(path: Path) -> bool:
    """Whether a path is of an `.npz` file."""
    return path.suffix.lower() == ".npz" and path.is_file()


def open_arrays(path: Path) -> ArrayImages:
    """Open an `.npz` file of images; raise `UserError` for one that holds none."""
    try:
        return ArrayImages(path)
    except UNREADABLE_ARRAYS as error:
        raise UserError(f"{path}: not a readable .npz file of images ({error})") from error


def _digest_of_whole(path: Path) -> str:
    """SHA-256 of the file; raise `ValueError` where a member's checksum differs."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged!r} differs")
    return sha256_file(path)


def _labels(path: Path) -> np.ndarray | None:
    """`arr_1` (N,), where it holds what may be classes."""
    with zipfile.ZipFile(path) as archive:
        if "arr_1.npy" not in archive.namelist():
            return None
        with archive.open("arr_1.npy") as member:
            _header(member, f"{path}: arr_1", "labels as whole numbers or texts")
        with archive.open("arr_1.npy") as member:
            labels: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
    one_each = labels.ndim > 0 and labels.size == len(labels)
    return labels.ravel() if one_each and labels.dtype.kind in "biufSU" else None


def _mapped(path: Path, name: str) -> np.ndarray:
    """An array of an `.npz` file, mapped into memory where it lies or as it was unpacked."""
    with zipfile.ZipFile(path) as archive:
        if f"{name}.npy" not in archive.namelist():
            held = ", ".join(each.removesuffix(".npy") for each in archive.namelist()) or "nothing"
            raise UserError(f"{path}: has {held}, needs {name}: np.savez(path, images) names it so")
        info = archive.getinfo(f"{name}.npy")
        stored = info.compress_type == zipfile.ZIP_STORED
        with archive.open(info) as member:
            shape, fortran, dtype = _header(member, f"{path}: {name}", "images as uint8")
            start = member.tell()
            file: IO[bytes] | Path = path
            if not stored:
                file, start = _unpacked(member), 0
    if stored:
        with path.open("rb") as whole:
            whole.seek(info.header_offset + _LOCAL_HEADER - 4)
            name_length, extra_length = np.frombuffer(whole.read(4), "<u2")
        start += info.header_offset + _LOCAL_HEADER + int(name_length) + int(extra_length)
    mapped: np.ndarray = np.memmap(
        file, dtype, "r", offset=start, shape=shape, order="F" if fortran else "C"
    )
    return mapped


def _header(
    member: IO[bytes], what: str, wanted: str
) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, order and type of an array; raise `UserError` for Python objects, which may run code.

    Args:
        member: At its beginning; what is read next are the values.
        what: The array, for the error.
        wanted: What should be there instead.
    """
    version = np.lib.format.read_magic(member)
    read_header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read_header(member)
    if dtype.hasobject:
        raise UserError(f"{what} holds Python objects (dtype {dtype}): save {wanted}")
    return shape, fortran, dtype


def _unpacked(member: IO[bytes]) -> IO[bytes]:
    """What is left of a member, in a file that goes with the process.

    Temporary folders often lie in memory, which 10 GB of images would fill.
    """
    from harness.data.settings import read_settings

    folder = read_settings().cache
    folder.mkdir(parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (the mapping outlives this function)
    shutil.copyfileobj(member, file, 1 << 20)
    file.flush()
    return file
