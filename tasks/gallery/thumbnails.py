"""Pictures at the size that galleries show them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image, ImageOps

from tasks.gallery.cards import Card, Shot

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
        with Image.open(shot.path) as image:
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
