"""The embedded images of `face-recon`: one portrait that ships in scikit-image, in many sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

from tasks.shared.sample_set import photo, ppm_bytes

SIDE = 256
_VERSION = 1
_FACE = (179, 83, 267, 171)
"""Box of Eileen Collins's face in `astronaut.png`, 512x512, as dlib finds it."""
_WIDTHS = (22, 32, 44, 62, 88, 124)
"""Of the face in the images."""
_VIEWS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "plain": lambda image: image,
    "mirrored": ImageOps.mirror,
    "dark": lambda image: image.point(lambda level: level * 0.55),
    "faint": lambda image: image.point(lambda level: 90 + level * 0.6),
}


class Portraits:
    """An image source of squares of 256 pixels, each a PPM file."""

    label = "astronaut"
    notice = (
        "no data given: these are 24 views of one embedded portrait. For numbers to compare, give "
        "--data or set UWT_EVAL_FACE_IMAGES to a folder of faces"
    )

    def __init__(self) -> None:
        import skimage.data

        self._path = Path(skimage.data.__file__).with_name("astronaut.png")
        self._views = {f"{name}-{width:03d}": (name, width) for name in _VIEWS for width in _WIDTHS}

    def ids(self) -> Sequence[str]:
        """View and width of the face, as `mirrored-044`, sorted."""
        return sorted(self._views)

    def read(self, image_id: str) -> bytes:
        """The image as PPM bytes."""
        return ppm_bytes(_view(self._path, *self._views[image_id]))

    def container(self, image_id: str) -> tuple[str, str]:
        """The photo's file and what is made of it."""
        return str(self._path), f"{image_id} {_VERSION} {PIL.__version__}"


@functools.lru_cache(maxsize=32)
def _view(path: Path, name: str, width: int) -> Image.Image:
    """The portrait with a face of that width in the middle, as far as the photo reaches."""
    left, top, right, bottom = _FACE
    portrait = photo(path)
    scale = width / (right - left)
    size = round(portrait.width * scale), round(portrait.height * scale)
    resized = portrait.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(resized)
    # A small photo is laid beside itself until the square is full.
    times = -(-SIDE // len(pixels))
    tiled = np.tile(pixels, (times, times, 1))
    corner = [
        min(max(0, round(middle * scale) - SIDE // 2), length - SIDE)
        for middle, length in (((top + bottom) / 2, len(tiled)), ((left + right) / 2, len(tiled)))
    ]
    y, x = corner if times == 1 else (0, 0)
    return _VIEWS[name](Image.fromarray(tiled[y : y + SIDE, x : x + SIDE]))
