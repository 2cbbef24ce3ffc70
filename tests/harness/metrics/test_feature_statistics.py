from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics.feature_statistics import (
    BlockAccumulator,
    FeatureStatistics,
    FeatureSums,
    load_statistics,
    save_statistics,
)

COUNT, WIDTH = 5000, 6


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    return np.maximum(rng.normal(size=(COUNT, WIDTH)), 0).astype(np.float32)


@pytest.fixture(scope="module")
def expected(features):
    accumulator = BlockAccumulator(WIDTH)
    accumulator.add(np.arange(COUNT), features)
    return accumulator.sums()


def _same_bits(first, second):
    return (
        first.count == second.count
        and np.array_equal(first.total, second.total)
        and np.array_equal(first.outer, second.outer)
    )


def test_statistics_equal_numpy(features, expected):
    statistics = expected.statistics()
    rows = features.astype(np.float64)
    assert statistics.count == COUNT
    np.testing.assert_allclose(statistics.mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(statistics.covariance, np.cov(rows, rowvar=False), rtol=1e-11)
    assert np.array_equal(statistics.covariance, statistics.covariance.T)


@pytest.mark.parametrize("batch", [1, 64, 999, 2048, 5000])
def test_bits_do_not_depend_on_the_batch_size(features, expected, batch):
    accumulator = BlockAccumulator(WIDTH)
    for start in range(0, COUNT, batch):
        rows = features[start : start + batch]
        accumulator.add(np.arange(start, start + len(rows)), rows)
    assert _same_bits(accumulator.sums(), expected)
    assert _same_bits(FeatureSums.from_features(features), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.booleans(), st.randoms(use_true_random=False))
def test_bits_do_not_depend_on_the_processes(features, expected, world, strided, random):
    shards = [
        np.arange(rank, COUNT, world) if strided else np.array_split(np.arange(COUNT), world)[rank]
        for rank in range(world)
    ]
    accumulators = []
    for shard in shards:
        accumulator = BlockAccumulator(WIDTH)
        for part in np.array_split(shard, random.randint(1, 4)):
            accumulator.add(part, features[part])
        accumulators.append(accumulator)
    random.shuffle(accumulators)
    merged = BlockAccumulator(WIDTH)
    for accumulator in accumulators:
        merged.merge(accumulator)
    assert _same_bits(merged.sums(), expected)


def test_sums_can_be_read_before_the_end(features, expected):
    accumulator = BlockAccumulator(WIDTH)
    accumulator.add(np.arange(3000), features[:3000])
    assert _same_bits(accumulator.sums(), FeatureSums.from_features(features[:3000]))
    accumulator.add(np.arange(3000, COUNT), features[3000:])
    assert _same_bits(accumulator.sums(), expected)


def test_sums_of_disjoint_sets_add(features, expected):
    added = FeatureSums.from_features(features[:2048]) + FeatureSums.from_features(features[2048:])
    assert added.count == COUNT
    np.testing.assert_allclose(added.outer, expected.outer, rtol=1e-14)


def test_multiplicities_are_repeated_rows(features):
    drawn = np.random.default_rng(1).integers(0, 100, 100)
    counts = np.bincount(drawn, minlength=100)
    weighted = FeatureSums.from_features(features[:100], counts).statistics()
    repeated = FeatureSums.from_features(features[drawn]).statistics()
    assert weighted.count == 100
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-12)
    np.testing.assert_allclose(weighted.covariance, repeated.covariance, rtol=1e-11, atol=1e-14)


def test_files_keep_every_bit(tmp_path, expected):
    pool = expected.statistics()
    spatial = FeatureStatistics(pool.mean[:2], pool.covariance[:2, :2], pool.count)
    save_statistics(tmp_path / "both.npz", pool, spatial)
    save_statistics(tmp_path / "pool.npz", pool)
    for name, kept in (("both", spatial), ("pool", None)):
        read, read_spatial = load_statistics(tmp_path / f"{name}.npz")
        assert np.array_equal(read.mean, pool.mean)
        assert np.array_equal(read.covariance, pool.covariance)
        assert read.count == COUNT
        assert (read_spatial is None) == (kept is None)
    assert np.array_equal(load_statistics(tmp_path / "both.npz")[1].covariance, spatial.covariance)


def test_adm_references_are_read(tmp_path):
    path = tmp_path / "VIRTUAL_imagenet256_labeled.npz"
    eye = np.eye(3, dtype=np.float32)
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    np.savez(path, mu=np.zeros(3), sigma=eye, mu_s=np.ones(2), sigma_s=np.eye(2), arr_0=images)
    pool, spatial = load_statistics(path)
    assert pool.count is None
    assert pool.covariance.dtype == np.float64
    assert spatial.mean.tolist() == [1, 1]


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


def test_bad_rows_are_named(features):
    accumulator = BlockAccumulator(WIDTH)
    broken = features[:5].copy()
    broken[3, 2] = np.inf
    with pytest.raises(ValueError, match="row 3 is not finite"):
        accumulator.add(np.arange(5), broken)
    with pytest.raises(ValueError, match="row 3 is not finite"):
        FeatureSums.from_features(broken)
    with pytest.raises(ValueError, match="float64 with 6 columns"):
        accumulator.add(np.arange(5), features[:5].astype(np.float64))
    with pytest.raises(ValueError, match="float32 with 5 columns"):
        accumulator.add(np.arange(5), features[:5, :5])
    with pytest.raises(ValueError, match="0 rows"):
        accumulator.add(np.arange(0), features[:0])
    with pytest.raises(ValueError, match="int64"):
        FeatureSums.from_features(np.zeros((3, 2), dtype=np.int64))
    with pytest.raises(ValueError, match=r"multiplicities have shape \(4,\)"):
        FeatureSums.from_features(features[:5], np.ones(4, dtype=np.int64))
    with pytest.raises(ValueError, match="1 samples have no covariance"):
        FeatureSums.from_features(features[:1]).statistics()


def test_bad_indices_are_named(features):
    accumulator = BlockAccumulator(WIDTH)
    with pytest.raises(ValueError, match="no samples were added"):
        accumulator.sums()
    with pytest.raises(ValueError, match=r"indices have shape \(4,\) for 5 rows"):
        accumulator.add(np.arange(4), features[:5])
    with pytest.raises(ValueError, match="sample 7 was added twice"):
        accumulator.add(np.array([6, 7, 7]), features[:3])
    accumulator.add(np.arange(10), features[:10])
    with pytest.raises(ValueError, match="sample 9 was added twice"):
        accumulator.add(np.arange(9, 12), features[9:12])
    accumulator.add(np.arange(2100, 2200), features[2100:2200])
    with pytest.raises(ValueError, match="sample 10 is missing"):
        accumulator.sums()
    accumulator.add(np.arange(10, 2048), features[10:2048])
    with pytest.raises(ValueError, match="sample 2048 is missing"):
        accumulator.sums()
    with pytest.raises(ValueError, match="sample 5 was added twice"):
        accumulator.add(np.array([5]), features[5:6])
    other = BlockAccumulator(WIDTH)
    other.add(np.arange(2048), features[:2048])
    with pytest.raises(ValueError, match="both accumulators hold sample 0"):
        accumulator.merge(other)
    with pytest.raises(ValueError, match="widths 6 and 2 differ"):
        accumulator.merge(BlockAccumulator(2))
