"""Images in `.npz` files of every kind that numpy writes, without holding them in memory."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness.data.arrays import open_arrays
from harness.interfaces.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("order", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_are_mapped_however_they_are_stored(
    save: object, order: object, tmp_path: Path
) -> None:
    save(tmp_path / "images.npz", order(PIXELS))  # type: ignore[operator]
    images = open_arrays(tmp_path / "images.npz")
    assert isinstance(images._images, np.memmap)
    np.testing.assert_array_equal([images.load(index) for index in range(5)], PIXELS)
    assert images.classes is None
    cache = tmp_path / "cache"
    left = [path for path in cache.iterdir() if not path.name.startswith("digests.sqlite")]
    assert left == [], "what was unpacked has no name"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_that_was_cut_or_damaged_is_refused(save: object, tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    save(path, PIXELS)  # type: ignore[operator]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"images\.npz: not a readable \.npz file"):
        open_arrays(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(UserError, match=r"images\.npz: not a readable \.npz file"):
        open_arrays(path)


def test_images_under_another_name_are_told_of(tmp_path: Path) -> None:
    np.savez(tmp_path / "named.npz", images=PIXELS)
    with pytest.raises(UserError, match=r"named\.npz: has images, needs arr_0"):
        open_arrays(tmp_path / "named.npz")


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 256, 256, 3)}
    with (
        zipfile.ZipFile(tmp_path / "few.npz", "w") as archive,
        archive.open("arr_0.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(UserError, match=r"few\.npz: not a readable"):
        open_arrays(tmp_path / "few.npz")


def test_what_is_no_label_an_image_is_none(tmp_path: Path) -> None:
    """Latents, or a row of numbers an image."""
    path = tmp_path / "images.npz"
    images = np.zeros((5, 4, 4, 3), np.uint8)
    for second in (np.zeros((5, 10)), np.zeros((7, 3))):
        np.savez(path, images, second)
        assert open_arrays(path).classes is None
    np.savez(path, images, np.arange(5)[:, None])
    assert open_arrays(path).classes == [0, 1, 2, 3, 4]


def test_labels_are_whole_numbers_one_an_image(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    for labels in (np.arange(5), np.arange(5.0), np.arange(5)[:, None]):
        np.savez(path, PIXELS, labels)
        assert open_arrays(path).classes == [0, 1, 2, 3, 4]
    for labels in (np.array(list("abcde")), np.arange(5) / 2):
        np.savez(path, PIXELS, labels)
        assert open_arrays(path).classes is None
    for labels in (np.arange(4), np.array(list("abcd"))):
        np.savez(path, PIXELS, labels)
        with pytest.raises(UserError, match=r"arr_1 has 4 labels for 5 images: .* leave arr_1 out"):
            open_arrays(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_objects_are_never_unpickled(save: object, tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    save(path, PIXELS, np.array([print, len], dtype=object))  # type: ignore[operator]
    with pytest.raises(UserError, match=r"images\.npz: arr_1 holds Python objects .*: save labels"):
        open_arrays(path)
    save(path, np.array([print, len], dtype=object))  # type: ignore[operator]
    with pytest.raises(UserError, match=r"images\.npz: arr_0 holds Python objects .*: save images"):
        open_arrays(path)
