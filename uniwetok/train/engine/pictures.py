"""Pictures of reconstructions and samples while training."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from uniwetok.files import replaced

_PAIRS_A_ROW = 4
_COLUMNS = 4


def to_pixels(images: Tensor) -> Tensor:
    """Round images in [-1, 1] to uint8, clamping what lies outside."""
    return (images.float().clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)


def write_pairs(path: Path, images: Tensor, reconstruction: Tensor) -> None:
    """Write a PNG of images, each beside its reconstruction.

    Args:
        path: of the PNG.
        images: (batch, 3, H, W) in [-1, 1].
        reconstruction: of the same shape.
    """
    write_grid(path, torch.stack([images, reconstruction], dim=1).flatten(0, 1), 2 * _PAIRS_A_ROW)


def write_grid(path: Path, images: Tensor, columns: int = _COLUMNS) -> None:
    """Write a PNG of images side by side.

    Args:
        path: of the PNG.
        images: (batch, 3, H, W) in [-1, 1].
        columns: images in a row.
    """
    grid = make_grid(to_pixels(images).cpu(), nrow=columns, padding=2, pad_value=255)
    with replaced(path) as partial:
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(partial, format="PNG")
