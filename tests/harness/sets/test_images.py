"""Sets of images: how files, archives and arrays are read, and what is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.images import DecodeRule
from harness.interfaces.errors import DecodeError, UserError
from harness.sets.images import ImageSet, open_images, open_reference
from harness.sets.observe import why_not_paired

RULE = DecodeRule(exif="ignore", alpha="drop", sixteen_bit="clip")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)


def folder_of(pixels: np.ndarray, folder: Path, ending: str = "png") -> Path:
    folder.mkdir(parents=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index:03d}.{ending}")
    return folder


def everything(images: ImageSet) -> np.ndarray:
    return np.stack([images.load(index) for index in range(len(images.ids))])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_holds_the_same_images_as_a_folder(
    save: object, tmp_path: Path, pixels: np.ndarray
) -> None:
    save(tmp_path / "images.npz", pixels)  # type: ignore[operator]
    arrays = open_images(str(tmp_path / "images.npz"), RULE)
    files = open_images(str(folder_of(pixels, tmp_path / "folder")), RULE)
    np.testing.assert_array_equal(everything(arrays), pixels)
    np.testing.assert_array_equal(everything(files), pixels)


def test_uncompressed_npz_is_mapped(tmp_path: Path, pixels: np.ndarray) -> None:
    np.savez(tmp_path / "images.npz", pixels)
    images = open_images(str(tmp_path / "images.npz"), RULE)
    assert isinstance(images._images, np.memmap)  # type: ignore[attr-defined]


def test_floats_in_range_are_rounded(tmp_path: Path, pixels: np.ndarray) -> None:
    np.savez(tmp_path / "images.npz", pixels.astype(np.float32) / 255)
    np.testing.assert_array_equal(
        everything(open_images(str(tmp_path / "images.npz"), RULE)), pixels
    )


@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan])
def test_floats_outside_their_range_are_named(bad: float, tmp_path: Path) -> None:
    values = np.zeros((3, 8, 8, 3), np.float32)
    values[1, 0, 0, 0] = bad
    np.savez(tmp_path / "images.npz", values)
    images = open_images(str(tmp_path / "images.npz"), RULE)
    images.load(0)
    with pytest.raises(UserError, match=r"image 1 spans .*floats must lie in \[0, 1\]"):
        images.load(1)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"other": np.zeros((2, 8, 8, 3), np.uint8)}, "has other, needs arr_0"),
        ({"arr_0": np.zeros((2, 8, 8), np.uint8)}, r"shape \(2, 8, 8\)"),
        ({"arr_0": np.zeros((2, 8, 8, 3), np.int64)}, "int64, expected uint8 or float"),
        ({"arr_0": np.array([object()])}, "npz"),
    ],
)
def test_other_arrays_are_refused(arrays: dict, text: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", **arrays)
    with pytest.raises(UserError, match=text):
        open_images(str(tmp_path / "images.npz"), RULE)


def test_broken_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.npz").write_bytes(b"not a zip")
    with pytest.raises(UserError, match=r"images\.npz"):
        open_images(str(tmp_path / "images.npz"), RULE)
    with pytest.raises(UserError, match=r"images\.npz"):
        open_reference(str(tmp_path / "images.npz"), RULE)


def test_names_that_differ_by_their_ending_alone_are_two_images(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    first = folder_of(pixels, tmp_path / "first")
    second = folder_of(pixels, tmp_path / "second")
    for folder in (first, second):
        Image.fromarray(pixels[0]).save(folder / "001.jpg")
    images, others = (open_images(str(folder), RULE) for folder in (first, second))
    assert list(images.ids)[:4] == ["000.png", "001.jpg", "001.png", "002.png"]
    assert why_not_paired(images, others) is None
    (second / "001.jpg").rename(second / "009.jpg")
    reason = why_not_paired(images, open_images(str(second), RULE))
    assert reason == (
        "second has no image named '000.png'; endings count in first, for it holds '001.jpg' "
        "beside '001.png': rename or remove one"
    )
    (second / "009.jpg").unlink()
    reason = why_not_paired(images, open_images(str(second), RULE))
    assert reason is not None
    assert "images and second 5; endings count in first, for it holds '001.jpg'" in reason


def test_digest_follows_content_and_rule(tmp_path: Path, pixels: np.ndarray) -> None:
    first = open_images(str(folder_of(pixels, tmp_path / "a")), RULE).digest
    assert open_images(str(folder_of(pixels, tmp_path / "b")), RULE).digest == first
    other = DecodeRule(exif="apply", alpha="drop", sixteen_bit="clip")
    assert open_images(str(tmp_path / "a"), other).digest != first
    assert open_images(str(folder_of(pixels[:4], tmp_path / "c")), RULE).digest != first


def test_png_pairs_with_jpeg_of_the_same_name(tmp_path: Path, pixels: np.ndarray) -> None:
    first = open_images(str(folder_of(pixels, tmp_path / "a")), RULE)
    second = open_images(str(folder_of(pixels, tmp_path / "b", "jpg")), RULE)
    assert why_not_paired(first, second) is None
    fewer = open_images(str(folder_of(pixels[:4], tmp_path / "c")), RULE)
    assert why_not_paired(first, fewer) == "a has 5 images and c 4"
    (tmp_path / "b" / "002.jpg").rename(tmp_path / "b" / "902.jpg")
    renamed = open_images(str(tmp_path / "b"), RULE)
    assert why_not_paired(first, renamed) == "b has no image named '002'"


def test_class_order_is_known_from_folders_and_labels(tmp_path: Path, pixels: np.ndarray) -> None:
    folder_of(pixels, tmp_path / "classes" / "n1")
    folder_of(pixels, tmp_path / "classes" / "n2")
    assert open_images(str(tmp_path / "classes"), RULE).class_sorted
    assert not open_images(str(tmp_path / "classes" / "n1"), RULE).class_sorted
    for labels, expected in (([0, 0, 1, 1, 2], True), ([0, 1, 0, 1, 2], False), ([3] * 5, False)):
        for kind in (np.int64, np.float32, np.str_, np.bytes_):
            np.savez(tmp_path / "images.npz", pixels, np.array(labels).astype(kind))
            assert open_images(str(tmp_path / "images.npz"), RULE).class_sorted is expected
    for odd in (np.zeros(5, "M8[s]"), np.zeros(5, [("a", "u1")]), np.array(3)):
        np.savez(tmp_path / "images.npz", pixels, odd)
        assert not open_images(str(tmp_path / "images.npz"), RULE).class_sorted


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_fortran_order_is_read(tmp_path: Path, pixels: np.ndarray, save: object) -> None:
    save(tmp_path / "images.npz", np.asfortranarray(pixels))  # type: ignore[operator]
    np.testing.assert_array_equal(
        everything(open_images(str(tmp_path / "images.npz"), RULE)), pixels
    )


def test_unreadable_member_is_a_decode_error(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = folder_of(pixels, tmp_path / "folder")
    (folder / "002.png").write_bytes(b"broken")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    for place in (folder, tmp_path / "set.zip"):
        images = open_images(str(place), RULE)
        with pytest.raises(DecodeError):
            images.load(2)


def test_adm_reference_has_statistics_and_images(tmp_path: Path, pixels: np.ndarray) -> None:
    mean, covariance = np.arange(4.0), np.eye(4)
    arrays = {"mu": mean, "sigma": covariance, "mu_s": mean, "sigma_s": covariance}
    np.savez(tmp_path / "only.npz", **arrays)
    np.savez(tmp_path / "both.npz", arr_0=pixels, **arrays)
    only = open_reference(str(tmp_path / "only.npz"), RULE)
    both = open_reference(str(tmp_path / "both.npz"), RULE)
    assert only.images is None
    assert both.images is not None
    assert len(both.images.ids) == 5
    for reference in (only, both):
        assert set(reference.statistics) == {"pool3", "spatial"}
        np.testing.assert_array_equal(reference.statistics["pool3"].mean, mean)


BROKEN_HEADER = b"\x93NUMPY\x01\x00\x10\x00{'descr': __import"


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"x" * 200, b"", BROKEN_HEADER])
@pytest.mark.parametrize("read", [open_images, open_reference])
def test_npz_files_that_are_none_are_one_line(
    tmp_path: Path, content: bytes, read: Callable[[str, DecodeRule], object]
) -> None:
    path = tmp_path / "images.npz"
    path.write_bytes(content)
    if content is BROKEN_HEADER:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("arr_0.npy", content)
    with pytest.raises(UserError, match=r"images\.npz: not a readable \.npz"):
        read(str(path), RULE)
