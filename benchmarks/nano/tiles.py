"""Photographs as squares that lie on the device, and random crops of them made there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.nano.classes import photo_name
from uniwetok.train.data.schedule import Place
from uniwetok.train.data.stream import Batch
from uniwetok.train.tokenizer.config import TokenizerTraining

SIDE = 384
"""Height and width of a square in pixels."""
_SMALLEST = 192
"""Photographs of a shorter side below this are left out: enlarged, they would teach blur."""
_ENDS_FROM = 1.45
"""Longer over shorter side from which both ends of a photograph are squares, too."""


def squares(image: Image.Image, *, ends: bool) -> list[Image.Image]:
    """Cut the middle of a photograph, and both ends of a long one if asked for.

    Args:
        image: 8-bit RGB; its shorter side is resized to `SIDE`.
        ends: whether a long one gives three squares in place of one.
    """
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    slack = max(width, height) - SIDE
    places = [round(slack / 2)]
    if ends and slack >= (_ENDS_FROM - 1) * SIDE:
        places += [0, slack]
    boxes = [(at, 0) if width >= height else (0, at) for at in places]
    return [image.crop((x, y, x + SIDE, y + SIDE)) for x, y in boxes]


def load_tiles(folder: Path) -> Tensor:
    """Read the squares of all photographs below a folder: uint8 (N, 3, 384, 384).

    Raises:
        ValueError: there are none.
    """
    tiles = []
    for path in sorted(folder.rglob("*.jpg")):
        with Image.open(path) as image:
            photo = image.convert("RGB")
        if min(photo.size) >= _SMALLEST:
            whole = photo_name(path.stem) is not None
            tiles += [np.asarray(tile) for tile in squares(photo, ends=whole)]
    if not tiles:
        raise ValueError(
            f"{folder}: holds no .jpg of {_SMALLEST} pixels a side; give the folder that "
            f"`python -m benchmarks.nano.photos` wrote"
        )
    return torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).contiguous()


class Crops:
    """Endless batches of random crops, a pure function of tiles, settings, seed and step.

    The sizes of ``config.data.buckets`` come in turn. No worker is needed, for crops, mirroring
    and changes of colour are computed where the tiles lie.

    Args:
        tiles: uint8 (N, 3, `SIDE`, `SIDE`).
        config: sizes, batch and seed.
        place: the step to start at.
        plain: share of the crops that become one colour, a slope of two or a mist, in [0, 1].
    """

    def __init__(
        self, tiles: Tensor, config: TokenizerTraining, place: Place, *, plain: float = 0.0
    ) -> None:
        self._tiles, self._config, self._start, self._plain = tiles, config, place.start, plain
        self._sizes = config.data.buckets or ((config.data.resolution,) * 2,)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of a step after the other."""
        step = self._start
        while True:
            yield self.batch(step)
            step += 1

    def progress(self, steps: int) -> dict[str, float]:
        """Say how often every tile has been seen after so many steps, about."""
        return {"epoch": steps * self._config.batch_size / len(self._tiles)}

    def batch(self, step: int) -> Batch:
        """Draw the crops of a step."""
        config, device = self._config, self._tiles.device
        size = self._sizes[step % len(self._sizes)][0]
        # The pixels of a batch are as many at every size.
        count = max(1, round(config.batch_size * (config.data.resolution / size) ** 2))
        draws = torch.Generator(device).manual_seed(config.seed * 1_000_003 + step)
        index = torch.randint(len(self._tiles), (count,), generator=draws, device=device)
        images = _crop(self._tiles[index].float(), size, draws) / 127.5 - 1
        images = _recolour(images, draws)
        if self._plain:
            shown = torch.rand(count, generator=draws, device=device) < self._plain
            images = torch.where(shown[:, None, None, None], _plain(images, draws), images)
        return Batch(images, [], None, 0)


def _crop(pictures: Tensor, size: int, draws: torch.Generator) -> Tensor:
    """Show whole tiles (40%), as a test does, or squares of 55 to 100%, mirroring half."""
    count, device = len(pictures), pictures.device

    def uniform() -> Tensor:
        return torch.rand(count, generator=draws, device=device)

    part = 0.55 + 0.45 * uniform()
    part = torch.where(uniform() < 0.4, 1.0, part)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = part * torch.where(uniform() < 0.5, 1.0, -1.0)
    theta[:, 1, 1] = part
    theta[:, 0, 2] = (2 * uniform() - 1) * (1 - part)
    theta[:, 1, 2] = (2 * uniform() - 1) * (1 - part)
    # Twice as fine and averaged: bilinear alone would alias where it shrinks.
    grid = nn.functional.affine_grid(theta, [count, 3, 2 * size, 2 * size], align_corners=False)
    fine = nn.functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    return nn.functional.avg_pool2d(fine, 2)


def _recolour(images: Tensor, draws: torch.Generator) -> Tensor:
    """Change places of channels, saturation and light: photographs have few saturated reds."""
    count, device = len(images), images.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=draws, device=device)

    order = uniform(count, 3).argsort(1)
    order[uniform(count) >= 0.2] = torch.arange(3, device=device)
    images = images.gather(1, order[:, :, None, None].expand_as(images))
    saturation = torch.where(uniform(count) < 0.3, 1 + 0.8 * uniform(count), 1.0)
    grey = images.mean(1, keepdim=True)
    images = grey + saturation[:, None, None, None] * (images - grey)
    light = torch.where(uniform(count) < 0.3, 0.8 + 0.4 * uniform(count), 1.0)
    return ((images + 1) * light[:, None, None, None] - 1).clamp(-1, 1)


def _plain(images: Tensor, draws: torch.Generator) -> Tensor:
    """Turn pictures into one colour, a colour that becomes another, or a mist of it (a half).

    Photographs have none of these. A third of the colours lie on faces, edges and corners of the
    cube (black, white, full ones), which draws from within would not reach, a third are greyish.
    """
    count, _, size, _ = images.shape
    device = images.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=draws, device=device)

    def colours() -> Tensor:
        inside = 2 * uniform(count, 3) - 1
        greyish = inside[:, :1] + 0.1 * inside
        outside = torch.where(uniform(count, 3) < 0.6, inside.sign(), inside)
        kind = uniform(count, 1)
        chosen = torch.where(kind < 1 / 3, inside, torch.where(kind < 2 / 3, greyish, outside))
        return chosen.clamp(-1, 1)[:, :, None, None]

    angle = 2 * torch.pi * uniform(count, 1, 1)
    line = torch.linspace(-0.5, 0.5, size, device=device)
    slope = (line * angle.cos() + line[:, None] * angle.sin() + 0.5).clamp(0, 1)
    slope = torch.where(uniform(count, 1, 1) < 0.5, slope, 0.0)[:, None]
    plain = torch.lerp(colours(), colours(), slope)
    seen = torch.where(uniform(count) < 0.5, 0.4 * uniform(count), 0.0)
    return torch.lerp(plain, images, seen[:, None, None, None])
