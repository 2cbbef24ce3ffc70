"""The size at which originals are given to a model."""

from __future__ import annotations

import math


def input_size(width: int, height: int, area: int, multiple: int) -> tuple[int, int]:
    """The published script's size near `area` pixels: (width, height), multiples of `multiple`.

    Both sides are rounded to the nearest multiple, and where that leaves fewer pixels than asked
    for, the width alone grows by one multiple; the ratio shifts by that.

    Args:
        width: Of the original, at least 1.
        height: Of the original, at least 1.
        area: Pixels to aim at.
        multiple: Of both sides.
    """
    ratio = width / height
    exact = math.sqrt(area * ratio)
    columns, rows = (max(1, round(side / multiple)) for side in (exact, exact / ratio))
    if columns * rows * multiple**2 < area:
        columns += 1
    return columns * multiple, rows * multiple
