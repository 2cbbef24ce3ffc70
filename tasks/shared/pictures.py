"""Sheets of pictures that people look at first: images side by side, each with a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from harness.data.lettering import write_line
from harness.interfaces import Picture
from uwt_images.decoding import RASTER_FORMATS

ERROR_GAIN = 4
"""Factor by which the error column is brightened."""
_LARGEST_SIDE = 256
_MARGIN = 8
_HEADER = 16
_LEAST_TILE = 128
_TITLES = ("original", "reconstruction", f"error x{ERROR_GAIN}")


def sheet(tiles: Sequence[Image.Image], across: int, gap: int = 0, header: int = 0) -> Image.Image:
    """Tiles row by row on white, as wide as the widest and each row as high as its highest.

    Args:
        tiles: RGB images, at least one.
        across: Most tiles in a row.
        gap: Pixels around every tile.
        header: Free pixels above the first row.
    """
    width = max(tile.width for tile in tiles) + gap
    columns = min(across, len(tiles))
    rows = [tiles[first : first + columns] for first in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) + gap for row in rows]
    whole = Image.new("RGB", (columns * width + gap, header + sum(heights) + gap), "white")
    for index, row in enumerate(rows):
        top = header + gap + sum(heights[:index])
        for column, tile in enumerate(row):
            whole.paste(tile, (gap + column * width, top))
    return whole


def reconstruction_grid(rows: Sequence[tuple[np.ndarray, Picture]]) -> Image.Image:
    """Original | reconstruction | error, a sample a row; four samples and more in two columns.

    Args:
        rows: The original, uint8 (H, W, 3), and the kept picture of its reconstruction.
    """
    shown = [_shown(original, picture) for original, picture in rows]
    cell = max(each.width for cells in shown for each in cells)
    strips = [_strip(cells, picture, cell) for cells, (_, picture) in zip(shown, rows, strict=True)]
    columns = 2 if len(strips) > 3 else 1
    per_column = -(-len(strips) // columns)
    in_rows = [strip for row in range(per_column) for strip in strips[row::per_column]]
    whole = sheet(in_rows, columns, _MARGIN, _HEADER)
    draw = ImageDraw.Draw(whole)
    width = max(strip.width for strip in strips)
    for column in range(columns):
        left = _MARGIN + column * (width + _MARGIN)
        for index, title in enumerate(_TITLES):
            write_line(draw, (left + index * (width // len(_TITLES)) + 2, 4), title, 14)
    return whole


def labelled_grid(cells: Sequence[tuple[Image.Image | Path, str]], columns: int = 4) -> Image.Image:
    """Images side by side, each above its label.

    Args:
        cells: An image or its file, and what it is called.
        columns: Images in a row.
    """
    return sheet([_tile(image, label) for image, label in cells], columns, _MARGIN)


def open_rgb(path: Path) -> Image.Image:
    """An image file, decoded to RGB."""
    with Image.open(path, formats=RASTER_FORMATS) as image:
        return image.convert("RGB")


def _tile(image: Image.Image | Path, label: str) -> Image.Image:
    picture = open_rgb(image) if isinstance(image, Path) else image.copy()
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    width = max(picture.width, _LEAST_TILE)
    tile = Image.new("RGB", (width, picture.height + 20), "white")
    tile.paste(picture, ((width - picture.width) // 2, 0))
    write_line(ImageDraw.Draw(tile), (0, picture.height + 2), label, 14, width)
    return tile


def _shown(original: np.ndarray, picture: Picture) -> list[Image.Image]:
    """Original, reconstruction and error, none larger than a cell."""
    reconstruction = np.asarray(open_rgb(picture.path))
    difference = np.abs(original.astype(np.int16) - reconstruction.astype(np.int16))
    error = np.clip(difference * ERROR_GAIN, 0, 255).astype(np.uint8)
    cells = [Image.fromarray(pixels) for pixels in (original, reconstruction, error)]
    for cell in cells:
        cell.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    return cells


def _strip(cells: Sequence[Image.Image], picture: Picture, width: int) -> Image.Image:
    """The three side by side, each in the middle of a cell, above the sample's name."""
    height = cells[0].height
    strip = Image.new("RGB", (3 * width + 2 * 4, height + 18), "white")
    for index, cell in enumerate(cells):
        strip.paste(cell, (index * (width + 4) + (width - cell.width) // 2, 0))
    values = "   ".join(f"{name.upper()} {value:.3f}" for name, value in picture.values.items())
    text = f"{picture.sample.id}   {values}"
    write_line(ImageDraw.Draw(strip), (2, height + 2), text, 12)
    return strip
