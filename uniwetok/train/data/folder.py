"""Images in a folder, with class sub-folders or without."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniwetok.train import TrainingError
from uniwetok.train.data.source import IMAGE_SUFFIXES, UnreadableImage, decode_rgb

SKIPPED = frozenset({"n06596364_9591.JPEG"})
"""An ImageNet file that the released code leaves out."""


@dataclass(frozen=True)
class Listing:
    """Paths below a folder, relative to it with forward slashes, unordered."""

    images: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)


def list_folder(root: Path) -> Listing:
    """List images and tar shards at any depth; hidden files are left out, links are followed.

    Raises:
        TrainingError: a folder cannot be listed.
    """
    listing = Listing()
    pending, visited = [""], set()
    while pending:
        folder = pending.pop()
        place = os.path.realpath(root / folder)
        if place in visited:  # A link back to a folder above.
            continue
        visited.add(place)
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (1.3M times)
                    if suffix in IMAGE_SUFFIXES and entry.is_file():
                        if entry.name not in SKIPPED:
                            listing.images.append(folder + entry.name)
                    elif suffix == ".tar" and entry.is_file():
                        listing.shards.append(folder + entry.name)
                    elif entry.is_dir():
                        pending.append(f"{folder}{entry.name}/")
        except OSError as error:
            raise TrainingError(f"{place}: cannot be listed ({error.strerror})") from error
    return listing


class FolderImages:
    """Images below a folder, in order of their names.

    Where all lie in sub-folders of the root, the sorted names of these are the classes; otherwise
    there are no labels.
    """

    damage: tuple[str, ...] = ()

    def __init__(self, root: Path, images: list[str]) -> None:
        """Take the images of `list_folder`, of which there must be at least one."""
        self.root = root
        images = sorted(images)
        # An array, for a list of a million strings is copied into every worker process.
        self._names = np.array([os.fsencode(name) for name in images])
        self._labels: NDArray[np.int32] | None = None
        if all("/" in name for name in images):
            folders = [name.partition("/")[0] for name in images]
            number = {name: label for label, name in enumerate(sorted(set(folders)))}
            self._labels = np.array([number[folder] for folder in folders], np.int32)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def parts(self) -> NDArray[np.int64]:
        """One part: all images are mixed."""
        return np.array([len(self)])

    def read(self, index: int) -> Image.Image:
        """Decode an image; raise `UnreadableImage` where that fails."""
        path = self.root / PurePosixPath(self.id(index))
        try:
            return decode_rgb(path.read_bytes())
        except OSError as error:
            raise UnreadableImage(f"{path}: cannot be read ({error.strerror})") from error
        except UnreadableImage as error:
            raise UnreadableImage(f"{path}: {error}") from error

    def label(self, index: int) -> int | None:
        """Return the number of the image's class folder."""
        return None if self._labels is None else int(self._labels[index])

    def id(self, index: int) -> str:
        """Return the path relative to the root."""
        return os.fsdecode(bytes(self._names[index]))
