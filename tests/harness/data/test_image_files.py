"""All images of a run as one file, without holding them in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.data.arrays import ArrayImages
from harness.data.store import (
    Store,
    discard_damaged_images,
    has_images,
    join_images,
    write_images,
)
from harness.metrics.features import FeatureStatistics, ReferenceFeatures
from tests.damage import flips


def test_blocks_are_joined_in_order_and_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), np.uint8)
    for block, rows in ((1, images[3:]), (0, images[:3])):
        write_images(store, block, list(rows))
    assert has_images(store, 1)
    assert not has_images(store, 2)
    path = join_images(store, 2)
    with np.load(path) as file:
        np.testing.assert_array_equal(file["arr_0"], images)
    assert list(tmp_path.iterdir()) == [path]
    assert has_images(store, 2), "a whole file stands for all"
    np.testing.assert_array_equal(ArrayImages(path).load(4), images[4])
    assert join_images(store, 2) == path


def test_a_damaged_file_of_all_images_counts_as_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), np.uint8)
    write_images(store, 0, list(images))
    path = join_images(store, 1, [7, 0, 1, 999])
    discarded = 0
    for _ in flips(path):
        discard_damaged_images(store)
        if not has_images(store, 0):
            discarded += 1
            continue
        with np.load(path) as file:
            assert file["arr_0"].tobytes() == images.tobytes()
            assert file["arr_1"].tolist() == [7, 0, 1, 999]
    assert discarded > 600
    discard_damaged_images(store)
    assert has_images(store, 0)


def test_classes_lie_beside_the_images(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_images(store, 0, list(np.zeros((3, 2, 2, 3), np.uint8)))
    path = join_images(store, 1, [7, 0, 999])
    with np.load(path) as file:
        assert file.files == ["arr_0", "arr_1"]
        assert file["arr_1"].dtype == np.int64
        assert file["arr_1"].tolist() == [7, 0, 999]
    assert len(ArrayImages(path).ids) == 3


def test_a_reference_is_read_as_written(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(7, 3)).astype(np.float32)
    known = FeatureStatistics(np.arange(2.0), np.eye(2), 9)
    unknown = FeatureStatistics(np.arange(4.0), np.eye(4), None)
    ReferenceFeatures({"pool3": rows}, {"spatial": known, "logits": unknown}).write(tmp_path / "r")
    read = ReferenceFeatures.read(tmp_path / "r")
    np.testing.assert_array_equal(read.rows("pool3"), rows)
    assert read.distribution("pool3").n == 7
    assert read.distribution("spatial").n == 9
    assert read.distribution("logits").n is None
    np.testing.assert_array_equal(read.statistics["spatial"].covariance, np.eye(2))
