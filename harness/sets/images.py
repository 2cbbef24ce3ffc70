"""Sets of images to judge, and references: folders, archives, data sets and `.npz` files."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from harness.data.digests import DigestCache
from harness.data.images import DecodeRule, decode_image
from harness.data.manifest import ImageSource, dataset_digest, list_samples
from harness.data.sources import open_source
from harness.interfaces import OnProgress
from harness.interfaces.errors import UserError
from harness.interfaces.types import digest_of
from harness.metrics.features import FeatureStatistics, load_statistics

LAYOUT = "a folder, .zip, .tar or Hugging Face dataset folder of images, or an .npz file"
_UNREADABLE = (
    *(ValueError, OSError, KeyError, EOFError, SyntaxError, OverflowError, NotImplementedError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What numpy and zipfile raise on files that are none of theirs."""
_LOCAL_HEADER = 30


class ImageSet(Protocol):
    """Images in a fixed order, known by name and content."""

    label: str
    digest: str
    """SHA-256 over names and contents."""
    class_sorted: bool
    """Whether the order is known to go class by class."""

    @property
    def ids(self) -> Sequence[str]:
        """Unique names; images of two sets pair by them."""
        ...

    def load(self, index: int) -> np.ndarray:
        """One image as uint8 (H, W, 3); raise `DecodeError` where it cannot be read."""
        ...


class FileImages:
    """Images of a folder or archive, in the order of their names."""

    def __init__(
        self, source: ImageSource, label: str, rule: DecodeRule, on_progress: OnProgress | None
    ) -> None:
        samples = list_samples(source, None, on_progress)
        self.label = label
        self.digest = digest_of([dataset_digest(samples), vars_of(rule)])
        self._names = [sample.id for sample in samples]
        self.ids = _without_suffixes(self._names)
        folders = {str(PurePosixPath(name).parent) for name in self._names}
        self.class_sorted = len(folders) > 1
        self._source = source
        self._rule = rule

    def load(self, index: int) -> np.ndarray:
        """Read and decode one file."""
        return np.asarray(decode_image(self._source.read(self._names[index]), self._rule))


def vars_of(rule: DecodeRule) -> list[str]:
    """The rule's choices, for digests."""
    return [rule.exif, rule.alpha, rule.sixteen_bit]


def _without_suffixes(names: Sequence[str]) -> Sequence[str]:
    """Names without `.png`, `.jpg` …, so that a PNG pairs with the JPEG it was made from.

    Where two would be the same, as of `a.png` beside `a.jpg`, all keep their endings.
    """
    ids = [str(PurePosixPath(name).with_suffix("")) for name in names]
    return ids if len(set(ids)) == len(ids) else names


class ArrayImages:
    """Images of an `.npz` file: `arr_0` (N, H, W, 3), uint8 or float in [0, 1].

    An uncompressed array is mapped, not read: 50,000 images take no memory. `arr_1`, where there
    is one, holds class labels.
    """

    def __init__(self, path: Path) -> None:
        self.label = path.name
        self.digest = DigestCache().of_file(path)
        self._path = path
        self._images = _array(path, "arr_0")
        if self._images.ndim != 4 or self._images.shape[3] != 3:
            raise UserError(
                f"{path}: arr_0 has shape {self._images.shape}, expected images (N, H, W, 3)"
            )
        if self._images.dtype != np.uint8 and self._images.dtype.kind != "f":
            raise UserError(f"{path}: arr_0 is {self._images.dtype}, expected uint8 or float")
        self.ids = [f"{index:06d}" for index in range(len(self._images))]
        self.class_sorted = _is_class_sorted(path)

    def load(self, index: int) -> np.ndarray:
        """One image; floats are rounded to 256 levels."""
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


def _is_class_sorted(path: Path) -> bool:
    with np.load(path, allow_pickle=False) as file:
        if "arr_1" not in file:
            return False
        labels = file["arr_1"].ravel()
    if labels.dtype.kind not in "biufSU" or len(labels) < 2:
        return False  # Whatever they are, they are no classes.
    return bool((labels[1:] >= labels[:-1]).all() and labels[0] != labels[-1])


def _array(path: Path, name: str) -> np.ndarray:
    """An array of an .npz file, mapped into memory where it is stored uncompressed."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            with np.load(path, allow_pickle=False) as file:
                compressed: np.ndarray = file[name]
                return compressed
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            read_header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read_header(member)
            header = member.tell()
    if dtype.hasobject:
        raise UserError(f"{path}: {name} holds {dtype}, expected numbers")
    with path.open("rb") as file:
        file.seek(info.header_offset + _LOCAL_HEADER - 4)
        name_length, extra_length = np.frombuffer(file.read(4), "<u2")
    start = info.header_offset + _LOCAL_HEADER + int(name_length) + int(extra_length) + header
    mapped: np.ndarray = np.memmap(
        path, dtype, "r", offset=start, shape=shape, order="F" if fortran else "C"
    )
    return mapped


def open_images(place: str, rule: DecodeRule, on_progress: OnProgress | None = None) -> ImageSet:
    """Open a set of images; raise `UserError` for a missing, empty or unknown one."""
    path = Path(place).expanduser()
    if path.suffix == ".npz" and path.is_file():
        try:
            return ArrayImages(path)
        except _UNREADABLE as error:
            raise UserError(f"{path}: not a readable .npz file of images ({error})") from error
    return FileImages(open_source(place, LAYOUT), path.name or str(path), rule, on_progress)


@dataclass(frozen=True)
class Reference:
    """What is compared with: images, stored statistics, or both in one ADM file."""

    label: str
    digest: str
    images: ImageSet | None
    statistics: Mapping[str, FeatureStatistics] = field(default_factory=dict)
    """By output of the Inception network."""


def open_reference(
    place: str, rule: DecodeRule, on_progress: OnProgress | None = None
) -> Reference:
    """Open a folder, archive, data set or `.npz`; raise `UserError` for anything else.

    An `.npz` with `mu` and `sigma` (and `mu_s`, `sigma_s`), such as ADM's
    `VIRTUAL_imagenet256_labeled.npz`, gives statistics, and images too where it has `arr_0`.
    """
    path = Path(place).expanduser()
    names: set[str] = set()
    if path.suffix == ".npz" and path.is_file():
        try:
            with np.load(path, allow_pickle=False) as file:
                names = set(file.files)
            statistics = load_statistics(path) if "mu" in names else {}
        except _UNREADABLE as error:
            raise UserError(f"{path}: not a readable .npz reference ({error})") from error
        if statistics:
            images = open_images(place, rule) if "arr_0" in names else None
            digest = images.digest if images is not None else DigestCache().of_file(path)
            return Reference(path.name, digest, images, statistics)
    images = open_images(place, rule, on_progress)
    return Reference(images.label, images.digest, images)
