"""Files with one bit flipped, as a failing disk or memory leaves them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path


def flips(path: Path, most: int = 1000) -> Iterator[int]:
    """Flip one bit of a file at a time, at every byte or at `most` of them; whole again at the end.

    Yields:
        The flipped byte's place.
    """
    data = path.read_bytes()
    chosen = random.Random(0)
    places = range(len(data))
    try:
        for place in places if len(data) <= most else sorted(chosen.sample(places, most)):
            damaged = bytearray(data)
            damaged[place] ^= 1 << chosen.randrange(8)
            _replace(path, damaged)
            yield place
    finally:
        _replace(path, data)


def _replace(path: Path, data: bytes) -> None:
    """Put other bytes in the file's place: in place, links to it in other runs would change too."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
