"""What a gallery shows of one sample, and its pictures at the size that they are shown."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from harness.interfaces.types import Status
from uwt_images.decoding import RASTER_FORMATS


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
class Verdict:
    """How a sample was judged."""

    text: str
    """A few words or figures."""
    good: bool | None
    """None where it was not judged."""
    words: str = ""
    """What the judge said, or the reason; may have several lines."""
    group: str = ""
    """What the page can be narrowed to: a kind of task, a category."""
    boxes: Sequence[Box] = ()
    """What was found in its first picture."""


@dataclass(frozen=True, slots=True)
class Card:
    """One sample: what was asked, what came, how it was judged and in which words."""

    id: str
    title: str
    """The prompt or instruction."""
    pictures: Sequence[Shot]
    verdict: Verdict


def card_of(
    row: Mapping[str, Any],
    title: str,
    pictures: Sequence[Shot],
    judge: Callable[[Mapping[str, Any]], Verdict | None],
    group: str = "",
) -> Card:
    """The card of a sample, judged or with the reason why it was not.

    Args:
        row: A row of `samples.parquet`: id, status, error and what was observed.
        title: The prompt or instruction.
        pictures: The sample's.
        judge: Reads the verdict of a sample without failure; None where nothing judged it.
        group: The group of a sample without a verdict.
    """
    failed = row["status"] != Status.OK
    verdict = None if failed else judge(row)
    if verdict is None:
        said = f"{row['status']}: {row['error']}" if failed else "not judged"
        verdict = Verdict(said, None, group=group)
    elif verdict.boxes:
        pictures = [replace(pictures[0], boxes=verdict.boxes), *pictures[1:]]
    return Card(row["id"], title, pictures, verdict)


SIDE = 224
"""Longest side of a shown picture, in pixels."""
_AT_ONCE = 64
_THREADS = 4
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture made small, and how large it is in its file."""

    image: Image.Image
    width: int
    height: int

    def data_uri(self) -> str:
        """The picture as a JPEG that a page holds within itself."""
        buffer = io.BytesIO()
        self.image.save(buffer, format="JPEG", quality=_QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def thumbnail(shot: Shot) -> Thumbnail | None:
    """A shot made small; None where its file is missing or no picture."""
    try:
        with Image.open(shot.path, formats=RASTER_FORMATS) as image:
            width, height = image.size
            image.draft("RGB", (SIDE, SIDE))  # Spares large JPEG files their whole decoding.
            small = image.convert("RGB")
    except Exception:  # Damaged bytes make Pillow's decoders raise nearly any exception.
        return None
    return Thumbnail(ImageOps.contain(small, (SIDE, SIDE)), width, height)


def with_thumbnails(cards: Iterable[Card]) -> Iterator[tuple[Card, list[Thumbnail | None]]]:
    """Each card with its pictures made small; only a few are held at a time."""
    waiting: list[Card] = []

    def flush(pool: ThreadPoolExecutor) -> Iterator[tuple[Card, list[Thumbnail | None]]]:
        small = pool.map(thumbnail, [shot for card in waiting for shot in card.pictures])
        for card in waiting:
            yield card, [next(small) for _ in card.pictures]
        waiting.clear()

    with ThreadPoolExecutor(_THREADS) as pool:
        for card in cards:
            waiting.append(card)
            if len(waiting) == _AT_ONCE:
                yield from flush(pool)
        yield from flush(pool)
