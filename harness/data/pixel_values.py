"""8-bit images and the floats that models and networks take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor


def to_float(images: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W) in [-1, 1]: v / 127.5 - 1, rounded once."""
    import torch

    levels = torch.from_numpy(images.astype(np.float64) / 127.5 - 1.0)
    return levels.float().permute(0, 3, 1, 2).contiguous()


def to_images(images: Tensor) -> list[Image.Image]:
    """float32 (B, 3, H, W) in [-1, 1] to RGB images, rounded to the nearest of 256 levels."""
    levels = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return [Image.fromarray(pixels) for pixels in levels.contiguous().cpu().numpy()]


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size to float32 (B, 3, H, W) in [-1, 1]."""
    return to_float(np.stack([np.asarray(image.convert("RGB")) for image in images]))
