"""Contact sheets: PNG files with many cards each, to look through at a glance."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from harness.data.store import Store
from tasks.gallery.boxes import clipped
from tasks.gallery.cards import Card
from tasks.gallery.thumbnails import SIDE, Thumbnail

FOLDER = "gallery"
"""The folder of the sheets in the run directory."""
_PICTURES_ACROSS = 8
_ROWS = 6
_GAP = 6
_LINE = 16
_LINES = 3
_COLOURS = {True: "#2e7d32", False: "#c62828", None: "#757575"}
_LONGEST = 400
"""Letters of a text that are looked at; fewer fit onto a card."""
_LAST_LATIN = 0x24F
"""Pillow's own font draws letters up to this one."""


class SheetWriter:
    """Collects cards and writes a sheet whenever one is full."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tiles: list[Image.Image] = []
        self._sheets = 0

    def add(self, card: Card, thumbnails: Sequence[Thumbnail | None]) -> None:
        """Put a card onto the sheet; one without pictures has no place there."""
        if not card.pictures:
            return
        tile = _tile(card, thumbnails)
        if self._tiles and len(self._tiles) >= _ROWS * _across(self._tiles[0]):
            self._write()
        self._tiles.append(tile)

    def finish(self) -> None:
        """Write the last sheet, and remove those of an earlier, larger gallery."""
        if self._tiles:
            self._write()
        for path in (self._store.root / FOLDER).glob("[0-9]*.png"):
            if path.stem.isdigit() and int(path.stem) >= self._sheets:
                path.unlink(missing_ok=True)

    def _write(self) -> None:
        across = _across(self._tiles[0])
        width = max(tile.width for tile in self._tiles) + _GAP
        height = max(tile.height for tile in self._tiles) + _GAP
        rows = -(-len(self._tiles) // across)
        columns = min(across, len(self._tiles))
        sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
        for place, tile in enumerate(self._tiles):
            row, column = divmod(place, across)
            sheet.paste(tile, (_GAP + column * width, _GAP + row * height))
        self._store.write(
            f"{FOLDER}/{self._sheets:03d}.png", lambda path: sheet.save(path, format="PNG")
        )
        self._tiles, self._sheets = [], self._sheets + 1


def _across(tile: Image.Image) -> int:
    """How many cards of this width fit beside each other."""
    return max(1, _PICTURES_ACROSS * SIDE // tile.width)


def _tile(card: Card, thumbnails: Sequence[Thumbnail | None]) -> Image.Image:
    width = SIDE * len(thumbnails)
    tile = Image.new("RGB", (width, SIDE + _LINES * _LINE + 4), "white")
    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(12)
    for place, (shot, small) in enumerate(zip(card.pictures, thumbnails, strict=True)):
        left = place * SIDE
        if small is None:
            draw.rectangle((left, 0, left + SIDE - 1, SIDE - 1), outline="#757575")
            draw.text((left + 8, SIDE // 2), "picture missing", "#757575", font)
            continue
        x = left + (SIDE - small.image.width) // 2
        y = (SIDE - small.image.height) // 2
        tile.paste(small.image, (x, y))
        scale = small.image.width / small.width
        for box in shot.boxes:
            inside = clipped(box, small.width, small.height)
            if inside is None:
                continue
            x0, y0, x1, y1 = (corner * scale for corner in inside)
            colour = _COLOURS[box.good]
            draw.rectangle((x + x0, y + y0, x + x1, y + y1), outline=colour, width=2)
            draw.text(
                (x + x0 + 3, y + y0 + 1),
                _fitting(box.label, SIDE, font),
                "white",
                font,
                stroke_width=2,
                stroke_fill=colour,
            )
    draw.rectangle((0, SIDE, width, SIDE + 3), fill=_COLOURS[card.good])
    lines = (f"{card.id}  {card.group}", card.title, card.verdict)
    for index, line in enumerate(lines):
        colour = _COLOURS[card.good] if index == _LINES - 1 else "black"
        draw.text((2, SIDE + 4 + index * _LINE), _fitting(line, width - 4, font), colour, font)
    return tile


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text in one line no wider than that; letters that the font lacks are left out."""
    known = (letter for letter in _spaced(text[:_LONGEST]) if ord(letter) <= _LAST_LATIN)
    line = " ".join("".join(known).split())
    if font.getlength(line) <= width:
        return line
    ends = range(len(line))
    kept = bisect_right(
        ends, float(width), key=lambda end: float(font.getlength(f"{line[:end]}..."))
    )
    return f"{line[: max(kept - 1, 0)]}..."


def _spaced(text: str) -> str:
    """Line breaks and control characters as spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
