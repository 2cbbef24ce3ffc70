"""Photos cut into small crops, once for all arms."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uniwetok.randomness import generator
from uniwetok.train import TrainingError
from uniwetok.train.data.folder import FolderImages
from uniwetok.train.data.opening import open_images
from uniwetok.train.data.source import ImageSource
from uwt_images.listing import UnreadableImage

PACKAGED = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
)
"""What scikit-image ships of photographs, micrographs and telescope images. The right one of its
two motorcycles is left out: it shows the scene of the left one."""

_LEAST_PHOTOS = 4
_DETAIL = re.compile(r"-d\d\d\.jpg$")
"""What `benchmarks.nano.photos` calls a part of a photo that is stored whole as well."""


@dataclass(frozen=True)
class Crops:
    """Square crops of photos."""

    pixels: Tensor
    """uint8 (crops, 3, size, size), 0..255."""
    photo: Tensor
    """int64 (crops,): number of the photo that each was cut from."""
    names: tuple[str, ...]
    """Names of the photos."""
    skipped: tuple[str, ...]
    """Photos that could not be used, a line each."""

    def digest(self) -> str:
        """Identify the crops by their content."""
        return hashlib.sha256(self.pixels.numpy().tobytes()).hexdigest()[:16]

    def split(self, heldout: float, seed: int) -> tuple[Tensor, Tensor]:
        """Draw which photos are kept from training.

        Args:
            heldout: share of the photos; at least one is on either side.
            seed: draws them.

        Returns:
            Numbers of the crops to train on, and of those held out; no photo has both.
        """
        photos = len(self.names)
        count = min(max(round(heldout * photos), 1), photos - 1)
        chosen = generator(seed, "heldout").permutation(photos)[:count]
        held = torch.isin(self.photo, torch.from_numpy(chosen))
        return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def cut_crops(data: str | None, *, crops: int, size: int) -> Crops:
    """Cut as many crops from each photo, of sides between 2 ``size`` and the photo's shorter one.

    Offsets are uniform, sides uniform in their logarithm; each crop is resized to ``size``.

    Args:
        data: what `open_images` opens; None takes the photos that scikit-image ships.
        crops: wanted in all; of more photos than that, as many are drawn.
        size: height and width of a crop in pixels.

    Raises:
        TrainingError: nothing there, or fewer than four photos that can be used.
    """
    source = _packaged() if data is None else open_images(data)
    whole = [index for index in range(len(source)) if not _DETAIL.search(source.id(index))]
    chosen = sorted(generator("photos").permutation(whole)[:crops].tolist())
    each = crops // max(len(chosen), 1)
    pixels: list[Tensor] = []
    names: list[str] = []
    skipped: list[str] = []
    for index in chosen:
        try:
            image = source.read(index)
        except UnreadableImage as error:
            skipped.append(str(error))
            continue
        if min(image.size) < 2 * size:
            skipped.append(f"{source.id(index)}: a side below {2 * size} pixels")
            continue
        rng = generator("crops", source.id(index))
        pixels += [_crop(image, size, rng) for _ in range(each)]
        names.append(source.id(index))
    if len(names) < _LEAST_PHOTOS:
        first = f"; first {skipped[0]}" if skipped else ""
        raise TrainingError(
            f"{len(names)} photos in {data or 'scikit-image'} can be used, at least "
            f"{_LEAST_PHOTOS} are needed to keep some from training{first}"
        )
    photo = torch.arange(len(names)).repeat_interleave(each)
    return Crops(torch.stack(pixels), photo, tuple(names), tuple(skipped))


def _packaged() -> ImageSource:
    package = importlib.util.find_spec("skimage")
    assert package is not None
    return FolderImages(Path(package.origin or "").parent / "data", list(PACKAGED))


def _crop(image: Image.Image, size: int, rng: np.random.Generator) -> Tensor:
    """Cut one crop, uint8 (3, size, size)."""
    side = round(2 * size * (min(image.size) / (2 * size)) ** rng.random())
    left, top = (int(rng.integers(0, room - side + 1)) for room in image.size)
    box = (left, top, left + side, top + side)
    resized = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()
