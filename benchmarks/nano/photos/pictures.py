"""Decode, judge, compare, shrink and cut pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SMALLEST_SIDE = 128
"""Shorter side in pixels below which a picture is not used."""
STORED_SIDE = 512
"""Shorter side in pixels to which larger pictures are shrunk."""
DETAIL_SIDE = 800
"""About the side, in pixels of the original, of the details cut from a large photograph."""
MOST_DETAILS = (3, 4)
"""Most rows and columns of details of one photograph."""
LEAST_COLOURS = 0.02
"""Share of pixels with a colour of their own, below which a picture counts as drawn."""
MOST_FLAT = 0.75
"""Share of pixels equal to their right and lower neighbours, above which it counts as drawn."""
LEAST_TEXTURE = 2.5
"""Mean grey-level step between neighbours that a detail must have: no sky or blur alone."""
NEAR_DUPLICATE = 12
"""Two pictures are the same when at most this many of their 128 hash bits differ."""


def open_photo(content: bytes) -> Image.Image | None:
    """The picture as RGB, upright; None if unreadable, too small, grey or transparent."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if min(image.size) < SMALLEST_SIDE or image.mode in {"1", "L", "I", "I;16", "F", "LA"}:
                return None
            upright = ImageOps.exif_transpose(image)
            if "A" in upright.getbands() or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                if int(np.asarray(upright.getchannel("A")).min()) < 255:
                    return None
            photo = upright.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return None if _is_grey(photo) else photo


def _is_grey(photo: Image.Image) -> bool:
    pixels = np.asarray(photo.resize((64, 64)), dtype=np.int16)
    return float(np.ptp(pixels, axis=2).mean()) < 4


def is_drawn(photo: Image.Image) -> bool:
    """Whether flat colour or few colours give a drawing, a gradient or a screenshot away.

    Shaded drawings and paintings pass; those are named in `sources.toml`.
    """
    step = max(1, min(photo.size) // 160)
    pixels = np.asarray(photo, dtype=np.int32)
    sparse = pixels[::step, ::step]
    colours = (sparse[..., 0] << 16) | (sparse[..., 1] << 8) | sparse[..., 2]
    own_colours = len(np.unique(colours)) / colours.size
    right = np.abs(np.diff(pixels, axis=1)).max(-1)[:-1] == 0
    below = np.abs(np.diff(pixels, axis=0)).max(-1)[:, :-1] == 0
    return own_colours < LEAST_COLOURS or float((right & below).mean()) > MOST_FLAT


def perceptual_hash(photo: Image.Image) -> NDArray[np.bool_]:
    """128 bits: whether grey rises to the right, and downwards, on a grid of 8 x 8 cells."""
    grey = photo.convert("L")
    across = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    down = np.asarray(grey.resize((8, 9), Image.Resampling.BOX), dtype=np.int16)
    return np.concatenate(
        [(np.diff(across, axis=1) > 0).ravel(), (np.diff(down, axis=0) > 0).ravel()]
    )


class Seen:
    """Hashes of the pictures so far, against which the next one is held."""

    def __init__(self) -> None:
        self._hashes: list[NDArray[np.bool_]] = []

    def add(self, photo: Image.Image) -> None:
        """Remember a picture."""
        self._hashes.append(perceptual_hash(photo))

    def has(self, photo: Image.Image) -> bool:
        """Whether a near-duplicate, in any size or quality, is remembered."""
        if not self._hashes:
            return False
        differing = np.stack(self._hashes) != perceptual_hash(photo)
        return int(differing.sum(1).min()) <= NEAR_DUPLICATE


def shrink(photo: Image.Image) -> Image.Image:
    """Shorter side at most `STORED_SIDE` (Lanczos); smaller pictures stay as they are."""
    factor = STORED_SIDE / min(photo.size)
    if factor >= 1:
        return photo
    size = (max(round(side * factor), STORED_SIDE) for side in photo.size)
    return photo.resize((next(size), next(size)), Image.Resampling.LANCZOS)


def details(photo: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """Cut a large photograph into a grid: (box, picture) of each cell that has texture."""
    width, height = photo.size
    rows = min(round(height / DETAIL_SIDE), MOST_DETAILS[0])
    columns = min(round(width / DETAIL_SIDE), MOST_DETAILS[1])
    if rows * columns < 2:
        return
    for row in range(rows):
        for column in range(columns):
            box = (
                column * width // columns,
                row * height // rows,
                (column + 1) * width // columns,
                (row + 1) * height // rows,
            )
            detail = shrink(photo.crop(box))
            grey = np.asarray(detail.convert("L"), dtype=np.int16)
            if float(np.abs(np.diff(grey, axis=1)).mean()) >= LEAST_TEXTURE:
                yield box, detail
