"""Writes a gallery's page and contact sheets into a run directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.data.store import Store
from tasks.gallery.cards import Box, Card, Shot
from tasks.gallery.sheets import SheetWriter
from tasks.gallery.thumbnails import Thumbnail, with_thumbnails

PAGE = "gallery.html"
"""The page's name in the run directory; it holds its pictures within itself."""


def write_gallery(root: Path, title: str, cards: Sequence[Card]) -> None:
    """Write `gallery.html` and `gallery/000.png`, `001.png` … of all cards, in their order.

    Args:
        root: The run directory.
        title: Heading of the page.
        cards: What to show; without cards nothing is written.

    Raises:
        UserError: A file cannot be written.
    """
    if not cards:
        return
    store = Store(root)
    sheets = SheetWriter(store)

    def shown() -> Iterator[dict[str, Any]]:
        for card, thumbnails in with_thumbnails(cards):
            sheets.add(card, thumbnails)
            yield _values(card, thumbnails)

    def write(path: Path) -> None:
        # Judges' words may hold half a surrogate pair, which UTF-8 does not know.
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(_template().generate(**_summary(title, cards), cards=shown()))

    store.write(PAGE, write)
    sheets.finish()


def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("gallery.html.j2")


def _state(good: bool | None) -> str:
    return {True: "right", False: "wrong", None: "open"}[good]


def _summary(title: str, cards: Sequence[Card]) -> dict[str, Any]:
    counts = Counter(_state(card.good) for card in cards)
    return {
        "title": title,
        "total": len(cards),
        "counts": {state: counts[state] for state in ("wrong", "right", "open")},
        "groups": sorted({card.group for card in cards if card.group}),
    }


def _values(card: Card, thumbnails: Sequence[Thumbnail | None]) -> dict[str, Any]:
    return {
        "card": card,
        "state": _state(card.good),
        "pictures": [
            _picture(shot, small) for shot, small in zip(card.pictures, thumbnails, strict=True)
        ],
    }


def _picture(shot: Shot, small: Thumbnail | None) -> dict[str, Any]:
    if small is None:
        return {"caption": shot.caption, "name": shot.path.name, "uri": ""}
    return {
        "caption": shot.caption,
        "name": shot.path.name,
        "uri": small.data_uri(),
        "width": small.width,
        "height": small.height,
        "shown": small.image.width,
        "boxes": [drawn for box in shot.boxes for drawn in _box(box, small)],
        "line": max(small.width, small.height) / 150,
        "font": max(small.width, small.height) / 16,
    }


def _box(box: Box, small: Thumbnail) -> list[dict[str, Any]]:
    """The box as the template draws it, or nothing where no part lies within the picture."""
    inside = box.within(small.width, small.height)
    if inside is None:
        return []
    x0, y0, x1, y1 = inside
    values = {
        "label": box.label,
        "state": _state(box.good),
        "x": round(x0, 2),
        "y": round(y0, 2),
        "width": round(x1 - x0, 2),
        "height": round(y1 - y0, 2),
    }
    return [values]
