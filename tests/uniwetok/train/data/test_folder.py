from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFile

from uniwetok.train.data.folder import FolderImages
from uniwetok.train.data.opening import open_images
from uwt_images.listing import UnreadableImage


def test_class_folders_give_labels(image_folder: Path) -> None:
    source = open_images(image_folder)
    assert [source.id(index) for index in range(4)] == [
        "class_0/000.png",
        "class_0/003.png",
        "class_0/006.png",
        "class_0/009.png",
    ]
    assert [source.label(index) for index in range(10)] == [0] * 4 + [1] * 3 + [2] * 3
    assert list(source.parts) == [10]


def test_classes_are_sorted_by_their_own_names(image_folder: Path) -> None:
    """'a-b' sorts before 'a/', but after 'a'."""
    (image_folder / "class_0").rename(image_folder / "a-b")
    (image_folder / "class_1").rename(image_folder / "a")
    source = open_images(image_folder)
    labels = {source.id(index).split("/")[0]: source.label(index) for index in range(10)}
    assert labels == {"a": 0, "a-b": 1, "class_2": 2}


def test_a_flat_folder_has_no_labels(image_folder: Path) -> None:
    source = open_images(image_folder / "class_0")
    assert [source.label(index) for index in range(4)] == [None] * 4


def test_pixels_are_those_of_the_file(image_folder: Path) -> None:
    source = open_images(image_folder)
    index = next(i for i in range(10) if source.id(i) == "class_1/007.png")
    image = source.read(index)
    assert image.mode == "RGB"
    assert (np.asarray(image)[:, :, 1] == 7).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    image = Image.new("L", (5, 4), 255).convert(mode)
    options = {"transparency": b"\x80" * 256} if mode == "P" else {}
    image.save(tmp_path / f"x.{suffix}", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_images(tmp_path).read(0).getpixel((0, 0)) == (255, 255, 255)


def test_the_file_the_released_code_skips(image_folder: Path) -> None:
    (image_folder / "class_0" / "000.png").rename(image_folder / "class_0/n06596364_9591.JPEG")
    assert len(open_images(image_folder)) == 9


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_damaged_images_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"bad\.png: not a readable image"):
        open_images(tmp_path).read(0)


def test_truncated_and_vanished_images(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # lmms-eval and other packages switch this on where they are imported.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = image_folder / "class_0" / "000.png"
    source = open_images(image_folder)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UnreadableImage, match=r"000\.png: not a readable image"):
        source.read(0)
    path.unlink()
    with pytest.raises(UnreadableImage, match=r"000\.png: cannot be read \(No such file"):
        source.read(0)


def test_pickling(image_folder: Path) -> None:
    source = pickle.loads(pickle.dumps(open_images(image_folder)))
    assert isinstance(source, FolderImages)
    assert source.id(9) == "class_2/008.png"


def test_linked_class_folders_are_classes(image_folder: Path) -> None:
    (image_folder / "class_9").symlink_to("class_1")
    source = open_images(image_folder)
    assert [source.label(index) for index in range(10, 13)] == [3] * 3


def test_a_photo_whose_tail_was_never_written_is_named(tmp_path: Path) -> None:
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:-4096] + bytes(4096))
    with pytest.raises(UnreadableImage, match=r"a\.jpg: not a readable image \(truncated"):
        open_images(tmp_path).read(0)
