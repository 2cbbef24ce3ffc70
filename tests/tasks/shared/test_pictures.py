"""The picture grid: originals, reconstructions and errors where a person looks for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.interfaces import Picture
from harness.interfaces.types import Sample
from tasks.shared.pictures import ERROR_GAIN, reconstruction_grid

Row = tuple[np.ndarray, Picture]


def row(folder: Path, index: int, width: int, height: int, error: int = 8) -> Row:
    """A flat original and a reconstruction that is a few levels off."""
    original = np.full((height, width, 3), 100, np.uint8)
    path = folder / f"{index:06d}.png"
    Image.fromarray(original + np.uint8(error)).save(path)
    sample = Sample(id=f"n01/image_{index}.JPEG", index=index, sha256="")
    return original, Picture(sample, path, {"psnr": 30.0, "ssim": 0.9})


def has_area(sheet: Image.Image, level: int, width: int, height: int) -> bool:
    """Whether a flat area of that grey and at least that size is on the sheet."""
    mask = (np.asarray(sheet) == level).all(axis=-1)
    return int(mask.sum()) >= width * height


@pytest.mark.parametrize("count", [1, 3, 4, 8])
def test_every_cell_is_on_the_sheet(count: int, tmp_path: Path) -> None:
    sheet = reconstruction_grid([row(tmp_path, index, 128, 96) for index in range(count)])
    assert sheet.mode == "RGB"
    for level in (100, 108, 8 * ERROR_GAIN):
        assert has_area(sheet, level, count * 128, 96)


def test_four_rows_and_more_stand_in_two_columns(tmp_path: Path) -> None:
    rows = [row(tmp_path, index, 64, 64) for index in range(8)]
    three, eight = reconstruction_grid(rows[:3]), reconstruction_grid(rows)
    assert eight.width > 1.8 * three.width
    assert eight.height < 1.5 * three.height


def test_images_of_different_shapes_share_a_sheet(tmp_path: Path) -> None:
    sizes = [(64, 200), (200, 64), (100, 100), (640, 480), (300, 1200)]
    rows = [row(tmp_path, index, *size) for index, size in enumerate(sizes)]
    sheet = reconstruction_grid(rows)
    shown = sum(int(np.prod(Image.new("L", size).resize(fitted(size)).size)) for size in sizes)
    for level in (100, 108, 8 * ERROR_GAIN):
        assert has_area(sheet, level, int(0.97 * shown), 1)


def fitted(size: tuple[int, int]) -> tuple[int, int]:
    """A size scaled down to fit into a 256-pixel cell."""
    scale = min(1.0, 256 / max(size))
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def test_large_errors_are_clipped_and_none_is_black(tmp_path: Path) -> None:
    assert has_area(reconstruction_grid([row(tmp_path, 0, 96, 96, error=100)]), 255, 96, 96)
    assert has_area(reconstruction_grid([row(tmp_path, 1, 96, 96, error=0)]), 0, 96, 96)


def test_pictures_stand_below_their_titles_whatever_their_shapes(tmp_path: Path) -> None:
    wide, high = row(tmp_path, 0, 256, 64), row(tmp_path, 1, 64, 256)
    pixels = np.asarray(reconstruction_grid([wide, high]))
    for level in (100, 108, 8 * ERROR_GAIN):
        grey = (pixels == level).all(-1)
        columns = [np.flatnonzero(grey[rows].all(0)) for rows in (slice(40, 60), slice(200, 220))]
        assert [len(each) for each in columns] == [256, 64]
        assert abs(columns[0].mean() - columns[1].mean()) <= 1
    assert len(pixels) < 64 + 256 + 100
