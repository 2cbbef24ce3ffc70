from __future__ import annotations

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


def test_several_splits(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    with pytest.raises(TrainingError, match=r"several splits \(train, val\): give one, such as"):
        open_images(tmp_path)


@pytest.mark.parametrize("pattern", ["x/{000..3", "x/{}.tar"])
def test_patterns_that_name_nothing(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(TrainingError, match=r"not a brace pattern|do not exist"):
        open_images(f"{tmp_path}/{pattern}")


def test_a_folder_with_braces_in_its_name(image_folder: Path) -> None:
    renamed = image_folder.rename(image_folder.with_name("{a,b}"))
    assert len(open_images(renamed)) == 10
