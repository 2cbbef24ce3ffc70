"""Intervals and averages: deterministic, calibrated, and equal to their literal definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from harness.metrics.stats import (
    NO_INTERVAL,
    batch_means_weights,
    clustered_means,
    mean_interval,
    percentiles,
)


def mean_of_batch_means(values: np.ndarray, batch_size: int, world_size: int) -> float:
    """What the released evaluation does: ranks take strides, batches average, batches average."""
    means = []
    for rank in range(world_size):
        mine = values[rank::world_size]
        means += [
            mine[start : start + batch_size].mean() for start in range(0, len(mine), batch_size)
        ]
    return float(np.mean(means))


def test_interval_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert mean_interval(values, 7) == mean_interval(values.copy(), 7)
    assert mean_interval(values, 7) != mean_interval(values, 8)


def test_interval_does_not_touch_its_input() -> None:
    values = np.random.default_rng(0).normal(size=20)
    before = values.copy()
    mean_interval(values, 0)
    np.testing.assert_array_equal(values, before)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**63 - 1), n=st.integers(5, 200), scale=st.floats(1e-3, 1e3))
def test_interval_contains_the_mean(seed: int, n: int, scale: float) -> None:
    values = scale * np.random.default_rng(seed).normal(10, 1, size=n)
    low, high, method = mean_interval(values, seed)
    assert low is not None
    assert high is not None
    assert low <= values.mean() <= high
    assert method == "bootstrap over samples"


def test_interval_agrees_with_normal_theory_for_many_samples() -> None:
    values = np.random.default_rng(1).normal(24, 3, size=2000)
    low, high, _ = mean_interval(values, 0)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_interval_of_equal_values_has_no_width() -> None:
    low, high, _ = mean_interval(np.full(10, 0.125), 0)
    assert low == high == 0.125


def test_weighted_interval_follows_the_weights() -> None:
    values = np.concatenate([np.zeros(100), np.ones(100)])
    weights = np.concatenate([np.full(100, 3.0), np.full(100, 1.0)])
    low, high, _ = mean_interval(values, 0, weights)
    assert low is not None
    assert high is not None
    assert low < 0.25 < high < 0.5


@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, np.inf, 2.0], [1.0, np.nan], [-np.inf, 0.0]], ids=str
)
def test_no_interval_for_too_few_or_infinite_values(values: list[float]) -> None:
    assert mean_interval(np.array(values), 0) == NO_INTERVAL


@given(n=st.integers(1, 400), batch_size=st.integers(1, 60), world_size=st.integers(1, 9))
def test_batch_means_weights_are_a_mean_of_batch_means(
    n: int, batch_size: int, world_size: int
) -> None:
    values = np.random.default_rng(n).normal(size=n)
    weights = batch_means_weights(n, batch_size, world_size)
    assert weights.shape == (n,)
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    expected = mean_of_batch_means(values, batch_size, world_size)
    assert weights @ values == pytest.approx(expected, abs=1e-12)


def test_full_batches_weigh_equally() -> None:
    np.testing.assert_allclose(batch_means_weights(800, 50, 8), 1 / 800, rtol=1e-12)


def test_short_last_batches_of_imagenet_weigh_twice() -> None:
    # 6,250 images a process are 62 batches of 100 and one of 50.
    weights = batch_means_weights(50_000, 100, 8)
    np.testing.assert_allclose(weights[: 8 * 6200], weights[0])
    np.testing.assert_allclose(weights[8 * 6200 :], 2 * weights[0])


def test_coco_batches_of_125_are_all_full() -> None:
    np.testing.assert_allclose(batch_means_weights(5_000, 125, 8), 1 / 5_000, rtol=1e-12)


def test_clustered_means_draw_whole_clusters() -> None:
    clusters = np.array(["a", "b", "b", "c"])
    values = np.array([1.0, 4.0, 6.0, 30.0])
    means = clustered_means(values, clusters, seed=0, resamples=200)
    sums, counts = {"a": (1, 1), "b": (10, 2), "c": (30, 1)}, set()
    for first in sums.values():
        for second in sums.values():
            for third in sums.values():
                drawn = np.sum([first, second, third], axis=0)
                counts.add(round(float(drawn[0] / drawn[1]), 9))
    assert set(means.round(9)) <= counts
    assert len(set(means.round(9))) == len(counts) == 10
    assert (means == clustered_means(values, clusters, seed=0, resamples=200)).all()


def test_clusters_of_one_are_the_plain_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=400)
    means = clustered_means(values, np.arange(400), seed=1)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.1)
    low, high, method = percentiles(means, "over things")
    assert method == "over things"
    plain = mean_interval(values, 1)
    assert (low, high) == pytest.approx((plain.low, plain.high), abs=0.02)


def test_weighted_clusters_are_ratios_of_sums() -> None:
    sums, sizes = np.array([2.0, 3.0, 9.0]), np.array([2.0, 6.0, 9.0])
    means = clustered_means(sums, np.array([0, 0, 1]), 0, weights=sizes, resamples=100)
    assert set(means.round(9)) == {0.625, 1.0, round(14 / 17, 9)}


def test_one_cluster_has_no_interval() -> None:
    assert percentiles(clustered_means(np.ones(4), np.zeros(4), 0), "x") == NO_INTERVAL
