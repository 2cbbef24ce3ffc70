from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.uniwetok.train.data.conftest import MakeShards
from uniwetok.train import TrainingError
from uniwetok.train.data.opening import open_images


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nowhere does not exist: give a folder of images"):
        open_images(tmp_path / "nowhere")


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(TrainingError, match=r"holds no image: looked .* \.jpg, \.jpeg, .* \.tar"):
        open_images(tmp_path)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "images.zip").touch()
    with pytest.raises(TrainingError, match=r"images\.zip is neither a folder nor a \.tar"):
        open_images(tmp_path / "images.zip")


def test_images_beside_shards(make_shards: MakeShards) -> None:
    root = make_shards()
    (root / "x.png").touch()
    with pytest.raises(TrainingError, match=r"both 1 images \(such as x\.png\) and 3 tar shards"):
        open_images(root)


def test_the_training_split_is_taken(image_folder: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(image_folder, tmp_path / "data" / split)
    (tmp_path / "data/val/class_0/000.png").unlink()
    source = open_images(tmp_path / "data")
    assert (len(source), source.id(0), source.label(9)) == (10, "class_0/000.png", 2)
    assert source.notices == (f"{tmp_path}/data: of its splits train, val 'train' is read",)
    assert len(open_images(tmp_path / "data", split="validation")) == 9


def test_shards_of_the_training_split_are_taken(make_shards: MakeShards) -> None:
    root = make_shards()
    for index, path in enumerate(sorted(root.glob("*.tar"))):
        path.rename(root / f"set-{'train' if index else 'val'}-{index:04d}.tar")
    whole = open_images(root / "set-val-0000.tar")
    source = open_images(root)
    assert len(source.parts) == 2
    assert len(open_images(root, split="validation")) == len(whole)


def test_several_splits_without_the_wanted_one(tmp_path: Path) -> None:
    for split in ("test", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.png").touch()
    with pytest.raises(TrainingError, match=r"several splits \(test, val\) and not one .*'train'"):
        open_images(tmp_path)


@pytest.mark.parametrize(
    "pattern",
    ["{0..999999999}.tar", "{a,b}" * 30, "{{0..99999},{0..99999}}{0..99}", "{a..z}" * 9],
)
def test_patterns_are_counted_before_they_are_expanded(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(TrainingError, match=r"names up to [\d,]+ shards, more than 1,000,000"):
        open_images(f"{tmp_path}/{pattern}")


@pytest.mark.parametrize("pattern", ["x/{000..3", "x/{}.tar"])
def test_patterns_that_name_nothing(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(TrainingError, match=r"not a brace pattern|do not exist"):
        open_images(f"{tmp_path}/{pattern}")


def test_a_folder_with_braces_in_its_name(image_folder: Path) -> None:
    renamed = image_folder.rename(image_folder.with_name("{a,b}"))
    assert len(open_images(renamed)) == 10
