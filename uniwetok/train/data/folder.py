"""Images in a folder, with class sub-folders or without."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniwetok.train.data.source import decode_rgb
from uwt_images.listing import UnreadableImage, read_image_file

SKIPPED = frozenset({"n06596364_9591.JPEG"})
"""An ImageNet file that the released code leaves out."""


class FolderImages:
    """Images below a folder, in order of their names.

    Where all lie in sub-folders of the root, the sorted names of these are the classes; otherwise
    there are no labels.

    Attributes:
        class_names: of the sub-folders that are the classes; empty where there are no labels.
    """

    def __init__(self, root: Path, images: Sequence[str], notices: tuple[str, ...] = ()) -> None:
        """Take the paths of images below a folder, sorted; there must be at least one."""
        self.root = root
        self.notices = notices
        # An array, for a list of a million strings is copied into every worker process.
        self._names = np.array([os.fsencode(name) for name in images])
        self._labels: NDArray[np.int32] | None = None
        self.class_names: tuple[str, ...] = ()
        if all("/" in name for name in images):
            folders = [name.partition("/")[0] for name in images]
            self.class_names = tuple(sorted(set(folders)))
            number = {name: label for label, name in enumerate(self.class_names)}
            self._labels = np.array([number[folder] for folder in folders], np.int32)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def parts(self) -> NDArray[np.int64]:
        """One part: all images are mixed."""
        return np.array([len(self)])

    def files(self) -> Iterator[Path]:
        """Yield the images themselves."""
        return (self._path(index) for index in range(len(self)))

    def _path(self, index: int) -> Path:
        return self.root / self.id(index)

    def read(self, index: int, covering: tuple[int, int] | None = None) -> Image.Image:
        """Decode an image; raise `UnreadableImage` where that fails."""
        path = self._path(index)
        try:
            return decode_rgb(read_image_file(path), covering)
        except UnreadableImage as error:
            raise UnreadableImage(f"{path}: {error}") from error

    def label(self, index: int) -> int | None:
        """Return the number of the image's class folder."""
        return None if self._labels is None else int(self._labels[index])

    def id(self, index: int) -> str:
        """Return the path relative to the root."""
        return os.fsdecode(bytes(self._names[index]))
