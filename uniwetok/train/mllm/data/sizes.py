"""Native resolutions: the size nearest to an image's own that whole tokens tile."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MOST_STRETCH = 2.0
"""Change of an image's shape (its sides' ratio) above which it is not used: a strip."""


@dataclass(frozen=True, kw_only=True)
class SizeRule:
    """Which sizes images are resized to; all in pixels.

    ``multiple`` is that of the model: a token's side, or a patch's where several are predicted at
    a time.
    """

    multiple: int = 32
    most_area: int = 1024 * 1024
    """Larger images are shrunk to about it."""
    least_side: int = 64
    """Smaller images are enlarged to it; what the image tokenizer takes."""
    most_side: int = 4096
    """The longest side that a resolution token announces."""

    def nearest(self, height: int, width: int) -> tuple[int, int]:
        """Give the nearest allowed height and width: the area's limit kept, shape nearly so."""
        scale = min(1.0, math.sqrt(self.most_area / (height * width)))
        sides = [self._rounded(side * scale) for side in (height, width)]
        while sides[0] * sides[1] > self.most_area and max(sides) > self._rounded(0):
            larger = sides.index(max(sides))
            sides[larger] -= self.multiple
        return sides[0], sides[1]

    def stretch(self, height: int, width: int) -> float:
        """Give the factor, at least 1, by which the nearest size changes the image's shape."""
        new_height, new_width = self.nearest(height, width)
        ratio = new_height * width / (new_width * height)
        return max(ratio, 1 / ratio)

    def _rounded(self, side: float) -> int:
        multiple = self.multiple
        least = math.ceil(self.least_side / multiple) * multiple
        most = self.most_side // multiple * multiple
        return min(max(round(side / multiple) * multiple, least), most)


def resized(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Resize by Pillow's bicubic, antialiased, to height and width; uint8 (3, height, width)."""
    height, width = size
    if (image.height, image.width) != size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
