"""Between the harness's float tensors and the 8-bit images that codecs take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from harness.data.pixel_values import to_float

if TYPE_CHECKING:
    from torch import Tensor


def to_images(images: Tensor) -> list[Image.Image]:
    """float32 (B, 3, H, W) in [-1, 1] to RGB images, rounded to the nearest of 256 levels."""
    levels = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return [Image.fromarray(pixels) for pixels in levels.contiguous().cpu().numpy()]


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size to float32 (B, 3, H, W) in [-1, 1]."""
    return to_float(np.stack([np.asarray(image.convert("RGB")) for image in images]))
