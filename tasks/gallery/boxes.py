"""Where boxes lie within a picture."""

from __future__ import annotations

import math

from tasks.gallery.cards import Box


def clipped(box: Box, width: int, height: int) -> tuple[float, float, float, float] | None:
    """The part of a box within a picture of that size: x0, y0, x1, y1; None where there is none."""
    if not all(map(math.isfinite, box.corners)):
        return None
    x0, y0, x1, y1 = box.corners
    left, right = (min(max(x, 0.0), float(width)) for x in (x0, x1))
    top, bottom = (min(max(y, 0.0), float(height)) for y in (y0, y1))
    return (left, top, right, bottom) if right > left and bottom > top else None
