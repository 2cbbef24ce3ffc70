"""8-bit images as the floats that models and networks take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def to_float(images: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W) in [-1, 1]: v / 127.5 - 1, rounded once."""
    import torch

    levels = torch.from_numpy(images.astype(np.float64) / 127.5 - 1.0)
    return levels.float().permute(0, 3, 1, 2).contiguous()
