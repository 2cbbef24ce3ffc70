"""Crops, and which side of the split they are on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from uniwetok.studies.photos import PACKAGED, cut_crops
from uniwetok.train import TrainingError


def test_packaged_photos_are_all_there() -> None:
    crops = cut_crops(None, crops=2 * len(PACKAGED), size=32)
    assert crops.names == tuple(sorted(PACKAGED))
    assert crops.skipped == ()
    assert crops.pixels.shape == (2 * len(PACKAGED), 3, 32, 32)
    assert crops.pixels.dtype == torch.uint8
    assert len(torch.unique(crops.pixels.flatten(1), dim=0)) == len(crops.pixels)


def test_a_split_parts_photos_and_depends_on_the_seed(photo_folder: Path) -> None:
    crops = cut_crops(str(photo_folder), crops=24, size=32)
    sides = [crops.split(0.34, seed) for seed in range(4)]
    for train, held in sides:
        assert sorted([*train.tolist(), *held.tolist()]) == list(range(24))
        assert not set(crops.photo[train].tolist()) & set(crops.photo[held].tolist())
        assert len(held) == 8
    assert len({tuple(held.tolist()) for _, held in sides}) > 1
    assert all(len(side) for side in crops.split(0.01, 0))
    assert all(len(side) for side in crops.split(0.99, 0))


def test_crops_are_the_same_again_and_the_digest_sees_a_pixel(photo_folder: Path) -> None:
    first, again = (cut_crops(str(photo_folder), crops=12, size=32) for _ in range(2))
    assert torch.equal(first.pixels, again.pixels)
    assert first.digest() == again.digest()
    again.pixels[0, 0, 0, 0] ^= 1
    assert first.digest() != again.digest()


def test_unusable_photos_and_details_are_left_out(photo_folder: Path) -> None:
    folder = photo_folder / "val" / "n00000000"
    (folder / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (300, 40)).save(folder / "low.png")
    Image.new("RGB", (300, 300)).save(folder / "photo-a1b2c3-d00.jpg")
    crops = cut_crops(str(photo_folder), crops=12, size=32)
    assert len(crops.names) == 6
    assert not any("-d00" in name for name in crops.names)
    assert len(crops.skipped) == 2
    assert "broken.jpg" in crops.skipped[0]
    assert "low.png: a side below 64 pixels" in crops.skipped[1]


def test_too_few_photos_are_refused(tmp_path: Path) -> None:
    for index in range(3):
        Image.new("RGB", (100, 100), (index, 0, 0)).save(tmp_path / f"{index}.png")
    with pytest.raises(TrainingError, match=r"3 photos in .* at least 4 are needed"):
        cut_crops(str(tmp_path), crops=12, size=32)
