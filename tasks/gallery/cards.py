"""What a gallery shows of one sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle that was found in a picture."""

    label: str
    corners: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the picture's file."""
    good: bool | None = None
    """Whether it counted for the verdict, against it, or neither way."""

    def within(self, width: int, height: int) -> tuple[float, float, float, float] | None:
        """The part within a picture of that size, x0, y0, x1, y1; None where there is none."""
        if not all(map(math.isfinite, self.corners)):
            return None
        x0, y0, x1, y1 = self.corners
        left, right = (min(max(x, 0.0), float(width)) for x in (x0, x1))
        top, bottom = (min(max(y, 0.0), float(height)) for y in (y0, y1))
        return (left, top, right, bottom) if right > left and bottom > top else None


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a card; a file that is not there is shown as missing."""

    path: Path
    caption: str = ""
    boxes: Sequence[Box] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """One sample: what was asked, what came, how it was judged and in which words."""

    id: str
    title: str
    """The prompt or instruction."""
    pictures: Sequence[Shot]
    verdict: str
    """A few words or figures."""
    good: bool | None
    """None where it was not judged."""
    words: str = ""
    """What the judge said, or the reason; may have several lines."""
    group: str = ""
    """What the page can be narrowed to: a kind of task, a category."""
