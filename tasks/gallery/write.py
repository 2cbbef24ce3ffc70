"""Writes a gallery into a run directory: a page, and contact sheets with many cards each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from harness.commands.pages import page_template
from harness.data.lettering import write_line
from harness.data.store import Store
from harness.engine.run_file import read_run_file
from harness.interfaces.errors import one_line, plain
from harness.interfaces.types import CARDS_FILE, SampleCard
from tasks.gallery.cards import SIDE, Box, Card, Shot, Thumbnail, with_thumbnails
from tasks.shared.pictures import sheet

FOLDER = "gallery"
"""The folder of the sheets in the run directory."""
_PICTURES_ACROSS = 8
_ROWS = 6
_GAP = 6
_LINE = 16
_SIZE = 12
"""Of letters."""
_LINES = 3
_COLOURS = {True: "#2e7d32", False: "#c62828", None: "#757575"}


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
        whole = sheet(self._tiles, _across(self._tiles[0]), _GAP)
        self._store.write(
            f"{FOLDER}/{self._sheets:03d}.png", lambda path: whole.save(path, format="PNG")
        )
        self._tiles, self._sheets = [], self._sheets + 1


def _across(tile: Image.Image) -> int:
    """How many cards of this width fit beside each other."""
    return max(1, _PICTURES_ACROSS * SIDE // tile.width)


def _tile(card: Card, thumbnails: Sequence[Thumbnail | None]) -> Image.Image:
    width = SIDE * len(thumbnails)
    tile = Image.new("RGB", (width, SIDE + _LINES * _LINE + 4), "white")
    draw = ImageDraw.Draw(tile)
    for place, (shot, small) in enumerate(zip(card.pictures, thumbnails, strict=True)):
        left = place * SIDE
        if small is None:
            draw.rectangle((left, 0, left + SIDE - 1, SIDE - 1), outline="#757575")
            write_line(draw, (left + 8, SIDE // 2), "picture missing", _SIZE, fill="#757575")
            continue
        x = left + (SIDE - small.image.width) // 2
        y = (SIDE - small.image.height) // 2
        tile.paste(small.image, (x, y))
        scale = small.image.width / small.width
        for box in shot.boxes:
            inside = box.within(small.width, small.height)
            if inside is None:
                continue
            x0, y0, x1, y1 = (corner * scale for corner in inside)
            colour = _COLOURS[box.good]
            draw.rectangle((x + x0, y + y0, x + x1, y + y1), outline=colour, width=2)
            write_line(
                draw,
                (x + x0 + 3, y + y0 + 1),
                box.label,
                _SIZE,
                SIDE,
                fill="white",
                stroke_width=2,
                stroke_fill=colour,
            )
    draw.rectangle((0, SIDE, width, SIDE + 3), fill=_COLOURS[card.verdict.good])
    lines = (f"{card.id}  {card.verdict.group}", card.title, card.verdict.text)
    for index, line in enumerate(lines):
        colour = _COLOURS[card.verdict.good] if index == _LINES - 1 else "black"
        write_line(draw, (2, SIDE + 4 + index * _LINE), line, _SIZE, width - 4, colour)
    return tile


PAGE = "gallery.html"
"""The page's name in the run directory; it holds its pictures within itself."""


def write_gallery(root: Path, title: str, cards: Sequence[Card]) -> None:
    """Write `gallery.html`, `gallery/000.png`, `001.png` … and `cards.json` of all cards, in order.

    The page's header names the model that the run directory's `run.json` names.

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
        template = page_template(Path(__file__).with_name("gallery.html.j2"))
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(
                template.generate(**_summary(_headed(root, title), cards), cards=shown())
            )

    store.write(PAGE, write)
    sheets.finish()
    store.write_json(CARDS_FILE, [_listed(root, card) for card in cards])


def _listed(root: Path, card: Card) -> dict[str, Any]:
    """The card as other programs read it, with those pictures that lie in the run directory."""
    inside = [shot for shot in card.pictures if shot.path.is_relative_to(root)]
    return SampleCard(
        id=plain(card.id),
        title=plain(card.title),
        verdict=plain(card.verdict.text),
        good=card.verdict.good,
        words=plain(card.verdict.words),
        group=plain(card.verdict.group),
        pictures=tuple(
            (plain(shot.path.relative_to(root).as_posix()), shot.caption) for shot in inside
        ),
    ).model_dump(mode="json")


def _headed(root: Path, title: str) -> str:
    """The title with the run's model; alone where there is no run."""
    if not (root / "run.json").is_file():
        return title
    return f"{one_line(read_run_file(root).model.title)} · {title}"


def _state(good: bool | None) -> str:
    return {True: "right", False: "wrong", None: "open"}[good]


def _summary(title: str, cards: Sequence[Card]) -> dict[str, Any]:
    counts = Counter(_state(card.verdict.good) for card in cards)
    return {
        "title": title,
        "total": len(cards),
        "counts": {state: counts[state] for state in ("wrong", "right", "open")},
        "groups": sorted({card.verdict.group for card in cards if card.verdict.group}),
    }


def _values(card: Card, thumbnails: Sequence[Thumbnail | None]) -> dict[str, Any]:
    return {
        "card": card,
        "state": _state(card.verdict.good),
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
