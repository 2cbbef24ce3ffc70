"""Sheets of pictures that people look at first: images side by side, each with a line of text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from harness.interfaces import Picture
from uwt_images.decoding import RASTER_FORMATS

ERROR_GAIN = 4
"""Factor by which the error column is brightened."""
_LARGEST_SIDE = 256
_MARGIN = 8
_HEADER = 16
_LEAST_TILE = 128
_TITLES = ("original", "reconstruction", f"error x{ERROR_GAIN}")
_LONGEST = 400
"""Letters that a text is cut to before it is laid out; fewer fit onto a picture."""
_LAST_LATIN = 0x24F
"""Pillow's own font draws letters up to this one."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def sheet(tiles: Sequence[Image.Image], across: int, gap: int = 0, header: int = 0) -> Image.Image:
    """Tiles row by row on white, in cells of the size of the largest.

    Args:
        tiles: RGB images, at least one.
        across: Most tiles in a row.
        gap: Pixels around every tile.
        header: Free pixels above the first row.
    """
    width = max(tile.width for tile in tiles) + gap
    height = max(tile.height for tile in tiles) + gap
    columns = min(across, len(tiles))
    rows = -(-len(tiles) // columns)
    whole = Image.new("RGB", (columns * width + gap, header + rows * height + gap), "white")
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        whole.paste(tile, (gap + column * width, header + gap + row * height))
    return whole


def fitted_line(text: str, width: int, font: Font) -> str:
    """The text in one line no wider than `width` pixels; letters that the font lacks are left out.

    Line breaks and control characters become spaces; what is cut off is shown by three dots.
    """
    spaced = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
    line = " ".join("".join(each for each in spaced if ord(each) <= _LAST_LATIN).split())
    if font.getlength(line) <= width:
        return line
    kept = bisect_right(
        range(len(line)), float(width), key=lambda end: float(font.getlength(f"{line[:end]}..."))
    )
    return f"{line[: max(kept - 1, 0)]}..."


def reconstruction_grid(rows: Sequence[tuple[np.ndarray, Picture]]) -> Image.Image:
    """Original | reconstruction | error, a sample a row; four samples and more in two columns.

    Args:
        rows: The original, uint8 (H, W, 3), and the kept picture of its reconstruction.
    """
    strips = [_strip(original, picture) for original, picture in rows]
    columns = 2 if len(strips) > 3 else 1
    per_column = -(-len(strips) // columns)
    in_rows = [strip for row in range(per_column) for strip in strips[row::per_column]]
    whole = sheet(in_rows, columns, _MARGIN, _HEADER)
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(14)
    width = max(strip.width for strip in strips)
    for column in range(columns):
        left = _MARGIN + column * (width + _MARGIN)
        for index, title in enumerate(_TITLES):
            draw.text((left + index * (width // len(_TITLES)) + 2, 4), title, "black", font)
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
    font = ImageFont.load_default(14)
    picture = open_rgb(image) if isinstance(image, Path) else image.copy()
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    width = max(picture.width, _LEAST_TILE)
    tile = Image.new("RGB", (width, picture.height + 20), "white")
    tile.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(tile)
    draw.text((0, picture.height + 2), fitted_line(label, width, font), "black", font)
    return tile


def _strip(original: np.ndarray, picture: Picture) -> Image.Image:
    reconstruction = np.asarray(open_rgb(picture.path))
    difference = np.abs(original.astype(np.int16) - reconstruction.astype(np.int16))
    error = np.clip(difference * ERROR_GAIN, 0, 255).astype(np.uint8)
    cells = [Image.fromarray(pixels) for pixels in (original, reconstruction, error)]
    for cell in cells:
        cell.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    width, height = cells[0].size
    strip = Image.new("RGB", (3 * width + 2 * 4, height + 18), "white")
    for index, cell in enumerate(cells):
        strip.paste(cell, (index * (width + 4), 0))
    values = "   ".join(f"{name.upper()} {value:.3f}" for name, value in picture.values.items())
    text = f"{picture.sample.id}   {values}"
    ImageDraw.Draw(strip).text((2, height + 2), text, "black", ImageFont.load_default(12))
    return strip
