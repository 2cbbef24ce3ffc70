"""The picture grids that people look at first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from harness.interfaces import Picture

ERROR_GAIN = 4
"""Factor by which the error column is brightened."""
_LARGEST_SIDE = 256
_MARGIN = 8
_HEADER = 24
_LEAST_TILE = 128
_TITLES = ("original", "reconstruction", f"error x{ERROR_GAIN}")


def reconstruction_grid(rows: Sequence[tuple[np.ndarray, Picture]]) -> Image.Image:
    """Original | reconstruction | error, one sample a row in two columns of rows.

    Args:
        rows: The original, uint8 (H, W, 3), and the kept picture of its reconstruction.
    """
    strips = [_strip(original, picture) for original, picture in rows]
    columns = 2 if len(strips) > 3 else 1
    per_column = -(-len(strips) // columns)
    width = max(strip.width for strip in strips) + _MARGIN
    height = max(strip.height for strip in strips) + _MARGIN
    sheet = Image.new(
        "RGB", (columns * width + _MARGIN, per_column * height + _HEADER + _MARGIN), "white"
    )
    draw = ImageDraw.Draw(sheet)
    cell = (width - _MARGIN) // len(_TITLES)
    for place, strip in enumerate(strips):
        column, row = divmod(place, per_column)
        left = _MARGIN + column * width
        sheet.paste(strip, (left, _HEADER + row * height))
        if row == 0:
            for index, title in enumerate(_TITLES):
                draw.text((left + index * cell + 2, 4), title, "black", ImageFont.load_default(14))
    return sheet


def labelled_grid(cells: Sequence[tuple[Image.Image, str]], columns: int = 4) -> Image.Image:
    """Images side by side, each above its label.

    Args:
        cells: An RGB image, and what it is called.
        columns: Images in a row.
    """
    tiles = [_tile(image, label) for image, label in cells]
    width = max(tile.width for tile in tiles) + _MARGIN
    height = max(tile.height for tile in tiles) + _MARGIN
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width + _MARGIN, rows * height + _MARGIN), "white")
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        sheet.paste(tile, (_MARGIN + column * width, _MARGIN + row * height))
    return sheet


def _tile(image: Image.Image, label: str) -> Image.Image:
    font = ImageFont.load_default(14)
    picture = image.copy()
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    width = max(picture.width, _LEAST_TILE)
    while label and font.getlength(label) > width:
        label = f"{label.rstrip('…')[:-1]}…"
    tile = Image.new("RGB", (width, picture.height + 20), "white")
    tile.paste(picture, ((width - picture.width) // 2, 0))
    ImageDraw.Draw(tile).text((0, picture.height + 2), label, "black", font)
    return tile


def _strip(original: np.ndarray, picture: Picture) -> Image.Image:
    with Image.open(picture.path) as image:
        reconstruction = np.asarray(image.convert("RGB"))
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
