"""Sets of features: sums and statistics, files of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.interfaces.errors import Unavailable
from harness.metrics.checks import nonfinite_row
from harness.metrics.features import (
    FeatureSet,
    FeatureStatistics,
    FeatureSums,
    ReferenceFeatures,
    load_statistics,
)

COUNT, WIDTH = 5000, 6


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    return np.maximum(rng.normal(size=(COUNT, WIDTH)), 0).astype(np.float32)


def test_statistics_equal_numpy(features):
    statistics = FeatureSums.from_features(features).statistics()
    rows = features.astype(np.float64)
    assert statistics.count == COUNT
    np.testing.assert_allclose(statistics.mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(statistics.covariance, np.cov(rows, rowvar=False), rtol=1e-11)
    assert np.array_equal(statistics.covariance, statistics.covariance.T)


def test_sums_of_a_part_are_taken_from_those_of_the_whole(features):
    whole, part = FeatureSums.from_features(features), FeatureSums.from_features(features[:1999])
    rest, expected = whole - part, FeatureSums.from_features(features[1999:])
    assert rest.count == expected.count
    np.testing.assert_allclose(rest.total, expected.total, rtol=1e-12)
    np.testing.assert_allclose(rest.outer, expected.outer, rtol=1e-12)


def test_adm_references_are_read(tmp_path):
    path = tmp_path / "VIRTUAL_imagenet256_labeled.npz"
    eye = np.eye(3, dtype=np.float32)
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    np.savez(path, mu=np.zeros(3), sigma=eye, mu_s=np.ones(2), sigma_s=np.eye(2), arr_0=images)
    known = load_statistics(path)
    assert list(known) == ["pool3", "spatial"]
    assert known["pool3"].count is None
    assert known["pool3"].covariance.dtype == np.float64
    assert known["spatial"].mean.tolist() == [1, 1]


def test_counts_are_read_where_a_file_says_them(tmp_path):
    np.savez(tmp_path / "own.npz", mu=np.zeros(3), sigma=np.eye(3), n=7)
    known = load_statistics(tmp_path / "own.npz")
    assert {output: each.count for output, each in known.items()} == {"pool3": 7}


def test_bad_files_are_named(tmp_path):
    np.savez(tmp_path / "other.npz", arr_0=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz holds \['arr_0'\]"):
        load_statistics(tmp_path / "other.npz")
    np.savez(tmp_path / "shape.npz", mu=np.zeros(3), sigma=np.eye(2))
    with pytest.raises(ValueError, match=r"\(3,\) and covariance \(2, 2\)"):
        load_statistics(tmp_path / "shape.npz")
    np.savez(tmp_path / "nan.npz", mu=np.full(2, np.nan), sigma=np.eye(2))
    with pytest.raises(ValueError, match="not finite"):
        load_statistics(tmp_path / "nan.npz")
    np.savez(tmp_path / "lopsided.npz", mu=np.zeros(2), sigma=np.array([[1, 0.5], [0, 1]]))
    with pytest.raises(ValueError, match=r"lopsided\.npz: the covariance of pool3 is not sym"):
        load_statistics(tmp_path / "lopsided.npz")
    np.savez(tmp_path / "negative.npz", mu=np.zeros(2), sigma=np.array([[1, 2], [2, 1]]))
    with pytest.raises(ValueError, match="has negative eigenvalues"):
        load_statistics(tmp_path / "negative.npz")


def test_a_covariance_without_full_rank_is_one(tmp_path) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    np.savez(tmp_path / "few.npz", mu=rows.mean(axis=0), sigma=np.cov(rows, rowvar=False))
    assert load_statistics(tmp_path / "few.npz")["pool3"].covariance.shape == (64, 64)


def test_bad_rows_are_named(features):
    broken = features[:5].copy()
    broken[3, 2] = np.inf
    with pytest.raises(ValueError, match="row 3 is not finite"):
        FeatureSums.from_features(broken)
    with pytest.raises(ValueError, match="0 rows"):
        FeatureSums.from_features(features[:0])
    with pytest.raises(ValueError, match="int64"):
        FeatureSums.from_features(np.zeros((3, 2), dtype=np.int64))
    with pytest.raises(ValueError, match="1 samples have no covariance"):
        FeatureSums.from_features(features[:1]).statistics()


def test_first_broken_row_is_found_beyond_the_first_block() -> None:
    rows = np.zeros((10_000, 2), np.float32)
    assert nonfinite_row(rows) is None
    rows[[9_000, 9_500], 1] = np.nan
    assert nonfinite_row(rows) == 9_000


def test_a_set_is_features_or_statistics(features) -> None:
    stored = FeatureStatistics(np.zeros(8), np.eye(8), None)
    for given in ({}, {"features": features, "statistics": stored}):
        with pytest.raises(ValueError, match="one of the two"):
            FeatureSet(**given)
    for wrong in (features.astype(np.float64), features[0]):
        with pytest.raises(ValueError, match="give a float32 matrix"):
            FeatureSet(wrong)


def test_a_kept_reference_has_every_bit(tmp_path: Path, features) -> None:
    known = FeatureSums.from_features(features).statistics()
    kept = ReferenceFeatures({"pool3": features, "resnet": features[:9]}, {"spatial": known})
    kept.write(tmp_path / "reference.npz")
    assert ReferenceFeatures.outputs_in(tmp_path / "reference.npz") == {
        "pool3",
        "resnet",
        "spatial",
    }
    read = ReferenceFeatures.read(tmp_path / "reference.npz")
    assert np.array_equal(read.rows("pool3"), features)
    stored = read.distribution("spatial").statistics
    assert stored is not None
    assert np.array_equal(stored.mean, known.mean)
    assert np.array_equal(stored.covariance, known.covariance)
    assert stored.count == COUNT
    with pytest.raises(Unavailable, match="holds statistics and no images"):
        read.rows("spatial")
