"""Sets of images to judge, and references: folders, archives, data sets and `.npz` files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from PIL import Image

from harness.data.arrays import UNREADABLE_ARRAYS, is_arrays, open_arrays
from harness.data.digests import DigestCache
from harness.data.images import DecodeRule, compressed, decode_image, to_array
from harness.data.manifest import ImageSource, dataset_digest, list_samples
from harness.data.sources import open_source
from harness.interfaces import OnProgress
from harness.interfaces.errors import UserError
from harness.interfaces.types import digest_of
from harness.metrics.features import FeatureStatistics, load_statistics

LAYOUT = "a folder, .zip, .tar, .parquet or Hugging Face dataset folder of images, or an .npz file"


class ImageSet(Protocol):
    """Images in a fixed order, known by name and content."""

    label: str
    digest: str
    """SHA-256 over names and contents."""

    @property
    def class_sorted(self) -> bool:
        """Whether the order is known to go class by class."""
        ...

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
        return to_array(decode_image(self._source.read(self._names[index]), self._rule))


Change = Callable[[Image.Image], Image.Image]


class Derived:
    """Some images of a set, each passed through a function.

    Args:
        base: Where the images come from.
        label: Names the function; part of the digest.
        places: Positions in the base.
        change: What becomes of each image.
    """

    class_sorted = False

    def __init__(
        self, base: ImageSet, label: str, places: Sequence[int], change: Change | None = None
    ) -> None:
        self.label = label
        self.digest = digest_of([base.digest, label, list(places)])
        self.ids = [base.ids[place] for place in places]
        self._base = base
        self._places = places
        self._change = change

    def load(self, index: int) -> np.ndarray:
        """The changed image."""
        pixels = self._base.load(self._places[index])
        return pixels if self._change is None else to_array(self._change(Image.fromarray(pixels)))


def vars_of(rule: DecodeRule) -> list[str]:
    """The rule's choices, for digests."""
    return [rule.exif, rule.alpha, rule.sixteen_bit]


def _without_suffixes(names: Sequence[str]) -> Sequence[str]:
    """Names without `.png`, `.jpg` …, so that a PNG pairs with the JPEG it was made from.

    Where two would be the same, as of `a.png` beside `a.jpg`, all keep their endings.
    """
    ids = [str(PurePosixPath(name).with_suffix("")) for name in names]
    return ids if len(set(ids)) == len(ids) else names


def open_images(place: str, rule: DecodeRule, on_progress: OnProgress | None = None) -> ImageSet:
    """Open a set of images; raise `UserError` for a missing, empty or unknown one."""
    path = Path(place).expanduser()
    if is_arrays(path):
        return open_arrays(path)
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
    if is_arrays(path):
        try:
            with np.load(path, allow_pickle=False) as file:
                names = set(file.files)
            statistics = load_statistics(path) if "mu" in names else {}
        except UNREADABLE_ARRAYS as error:
            raise UserError(f"{path}: not a readable .npz reference ({error})") from error
        if statistics:
            images = open_images(place, rule) if "arr_0" in names else None
            digest = images.digest if images is not None else DigestCache().of_file(path)
            return Reference(path.name, digest, images, statistics)
    images = open_images(place, rule, on_progress)
    return Reference(images.label, images.digest, images)


def open_originals(
    place: str, settings: Mapping[str, Any], on_progress: OnProgress | None = None
) -> Reference:
    """The same under the settings of a protocol: what its images go through belongs to them."""
    found = open_reference(place, DecodeRule(**settings["decode"]), on_progress)
    how = settings.get("reference_compression", "none")
    if found.images is None or how == "none":
        return found
    changed = Derived(found.images, how, range(len(found.images.ids)), partial(compressed, how=how))
    return replace(found, digest=changed.digest, images=changed, statistics={})
