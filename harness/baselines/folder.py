"""Images made elsewhere: a folder in a benchmark's layout, in the place of a model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from harness.data.digests import DigestCache
from harness.data.images import DecodeRule, decode_image, read_image, to_tensor
from harness.interfaces import Argument, Code
from harness.interfaces.errors import DecodeError, SampleFailure, UserError
from harness.interfaces.types import ModelCard, Status, digest_of
from uwt_images.listing import ListingError, list_files

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_AS_STORED = DecodeRule(exif="ignore", alpha="drop", sixteen_bit="clip")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


class Images:
    """Reads images from a folder: `images:DIR`, as `--images DIR` says.

    A code is an image's name in the folder: the files themselves stay where they are.
    """

    concurrent = True

    def __init__(
        self,
        folder: Annotated[Path, Argument, "Images by their paths in the benchmark's layout."],
    ) -> None:
        self._root = folder
        if not folder.is_dir():
            raise UserError(f"--images {folder}: there is no such folder")

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from the names and contents of all images in the folder."""
        try:
            names = list_files(self._root, _SUFFIXES)
        except ListingError as error:
            raise UserError(f"--images {error}") from error
        if not names:
            raise UserError(f"--images {self._root}: no image is there")
        cache = DigestCache()
        paths = [(name, self._root / name) for name in names]
        found = [[name, cache.of_file(path)] for name, path in paths if path.is_file()]
        return ModelCard(
            name="images",
            label=f"images:{self._root.resolve().name}",
            weights_sha256=digest_of(found),
        )

    def load(self, device: str) -> None:
        """Nothing to load."""

    def read(self, names: Sequence[str]) -> list[Code]:
        """The images of these names, slashes between folders.

        Raises:
            SampleFailure: One is missing, or cannot be read.
        """
        images = [(name, self._opened(name)) for name in names]
        return [Code(name.encode(), image.height, image.width) for name, image in images]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Read images of one size as float32 (B, 3, H, W) in [-1, 1]."""
        del seeds
        return to_tensor([self._opened(code.payload.decode()) for code in codes])

    def _opened(self, name: str) -> Image.Image:
        path = self._root / name
        if not path.exists():
            raise SampleFailure(Status.MISSING, f"no image {name} in {self._root}")
        try:
            return decode_image(read_image(path), _AS_STORED)
        except DecodeError as error:
            raise DecodeError(f"{name}: {error}") from error
