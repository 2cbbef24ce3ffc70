"""Images made elsewhere: a folder, or an `.npz` file, in the place of a model."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Gt

from harness.baselines.pairing import pairs_in_order, pairs_of_names
from harness.data.arrays import is_arrays, open_arrays
from harness.data.images import DecodeRule, decode_image, read_image, to_float
from harness.data.manifest import dataset_digest, list_samples
from harness.data.sources import FolderSource
from harness.interfaces import Argument, Code
from harness.interfaces.errors import DecodeError, SampleFailure, UserError
from harness.interfaces.types import ModelCard, Status
from uwt_images.listing import ListingError

if TYPE_CHECKING:
    from torch import Tensor

    from harness.data.arrays import ArrayImages

_AS_STORED = DecodeRule(exif="ignore", alpha="drop", sixteen_bit="clip")


class Images:
    """Reads images made elsewhere: `images:PLACE`, as `--images PLACE` says.

    A code is an image's name there: the files themselves stay where they are.
    """

    concurrent = True
    works_on = "cpu"

    def __init__(
        self,
        place: Annotated[
            Path, Argument, "A folder in the task's layout, or an .npz file of images in arr_0."
        ],
        label: Annotated[str, "What made the images, for tables; the place's name if absent."] = "",
        bits: Annotated[float | None, Gt(0), "Bits of every image's code, for bpp."] = None,
        bpp: Annotated[float | None, Gt(0), "Bits a pixel of every image's code, for bpp."] = None,
        pairs: Annotated[
            Literal["name", "order"],
            "How reconstructions belong to originals: by name, endings apart, or both in the order "
            "of their names.",
        ] = "name",
    ) -> None:
        self._place = place.expanduser()
        self._name = label or self._place.resolve().name
        self._pairs = pairs
        self._bits, self._bpp = bits, bpp
        if bits is not None and bpp is not None:
            raise UserError(f"--images {place}: bits and bpp both state the rate, give one")
        if not is_arrays(self._place) and not self._place.is_dir():
            there = "it is neither a folder nor an .npz file"
            missing = "there is no such folder, nor an .npz file"
            raise UserError(f"--images {place}: {there if self._place.exists() else missing}")

    @functools.cached_property
    def _arrays(self) -> ArrayImages | None:
        return open_arrays(self._place) if is_arrays(self._place) else None

    @functools.cached_property
    def _files(self) -> FolderSource:
        try:
            source = FolderSource(self._place)
        except ListingError as error:
            raise UserError(f"--images {error}") from error
        if not source.ids():
            raise UserError(f"--images {self._place}: no image is there")
        return source

    @functools.cached_property
    def _numbers(self) -> Mapping[str, int]:
        """Places in the order, by name."""
        return {name: place for place, name in enumerate(self.names())}

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from the names and contents of all images, and what was said of them."""
        config: dict[str, Any] = {"bits": self._bits, "bpp": self._bpp}
        if self._pairs == "order":
            config["pairs"] = "order"
        if self._arrays is not None:
            digest = self._arrays.digest
        else:
            digest = dataset_digest(list_samples(self._files, None))
        return ModelCard(
            name="images",
            label=f"{self._name} (images made elsewhere)",
            config={name: value for name, value in config.items() if value is not None},
            weights_sha256=digest,
        )

    def load(self, device: str) -> None:
        """Nothing to load."""

    def names(self) -> Sequence[str]:
        """Paths of the images in the folder, sorted, or numbers of those in the file."""
        return self._files.ids() if self._arrays is None else self._arrays.ids

    def classes(self) -> Sequence[int] | None:
        """`arr_1` of the file, where it holds whole numbers."""
        return None if self._arrays is None else self._arrays.classes

    def paired(self, originals: Sequence[str]) -> Mapping[str, str]:
        """The image that was made of each original, as far as there is one."""
        pair = pairs_of_names if self._pairs == "name" else pairs_in_order
        return pair(originals, self.names(), f"--images {self._place}")

    def read(self, names: Sequence[str]) -> list[Code]:
        """The images of these names, slashes between folders.

        Raises:
            SampleFailure: One is missing, or cannot be read.
            UserError: One is asked for by a path, and the images have numbers.
        """
        codes = []
        for name in names:
            height, width, _ = self._pixels(name).shape
            rate = math.nan if self._bits is None else self._bits
            rate = rate if self._bpp is None else self._bpp * height * width
            codes.append(Code.of_file(name.encode(), height, width, rate))
        return codes

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Read images of one size as float32 (B, 3, H, W) in [-1, 1]."""
        del seeds
        return to_float(np.stack([self._pixels(code.payload.decode()) for code in codes]))

    def _pixels(self, name: str) -> np.ndarray:
        """An image as uint8 (H, W, 3)."""
        if self._arrays is not None:
            if name not in self._numbers:
                raise UserError(
                    f"--images {self._place}: images of an .npz file have no names, this task "
                    f"looks for {name!r}: give a folder"
                )
            return self._arrays.load(self._numbers[name])
        path = self._place / name
        if not path.exists():
            raise SampleFailure(Status.MISSING, f"no image {name} in {self._place}")
        try:
            return np.asarray(decode_image(read_image(path), _AS_STORED))
        except DecodeError as error:
            raise DecodeError(f"{name}: {error}") from error
