"""The jackknife against variances that are known, and how often its interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from harness.metrics.features import FeatureSet
from harness.metrics.frechet import frechet_value
from harness.metrics.stats import GROUPS, deal_groups, jackknife_interval


def interval_of_mean(values: np.ndarray, groups: int = GROUPS) -> tuple[float, float]:
    labels = deal_groups(len(values), groups, seed=0)
    left_out = [float(values[labels != g].mean()) for g in range(groups)]
    shares = [float((labels == g).mean()) for g in range(groups)]
    low, high, _ = jackknife_interval(float(values.mean()), left_out, shares)
    assert low is not None
    assert high is not None
    return low, high


def test_groups_are_dealt_evenly_and_the_same_way_each_time() -> None:
    labels = deal_groups(103, 20, seed=1)
    counts = np.bincount(labels)
    assert len(counts) == 20
    assert set(counts.tolist()) == {5, 6}
    np.testing.assert_array_equal(labels, deal_groups(103, 20, seed=1))
    assert (labels != deal_groups(103, 20, seed=2)).any()


def test_classes_in_rotation_do_not_fall_into_the_same_groups() -> None:
    labels, classes = deal_groups(2000, 20, seed=0), np.arange(2000) % 20
    assert all(len(set(classes[labels == g])) > 10 for g in range(20))


def test_leaving_one_out_gives_the_textbook_error_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=40)
    low, high = interval_of_mean(values, groups=40)
    half = 2.022691 * values.std(ddof=1) / np.sqrt(40)  # Student's t with 39 degrees of freedom
    assert (low + high) / 2 == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=1e-6)


def test_a_bias_that_shrinks_with_the_rows_is_no_spread() -> None:
    # θ(n) = 1 + 100 / n without any noise: groups of 5 and 6 rows lose differently much.
    sizes = np.bincount(deal_groups(103, 20, seed=0))
    left_out = [1 + 100 / (103 - size) for size in sizes]
    low, high, method = jackknife_interval(1 + 100 / 103, left_out, list(sizes / 103))
    assert (low, high) == pytest.approx((1 + 100 / 103, 1 + 100 / 103))
    assert method == "jackknife over 20 groups"


def test_intervals_of_means_hold_the_truth_as_often_as_they_say() -> None:
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(600, 210))
    covered = [low <= 3.0 <= high for low, high in map(interval_of_mean, draws)]
    assert 0.92 < np.mean(covered) < 0.98


@pytest.mark.parametrize("n", [(500, 500), (400, 900)])
def test_intervals_of_frechet_distances_match_the_delta_method(n: tuple[int, int]) -> None:
    # FD of N(0, 1) and N(1, 2²) is 1 + 1; its variance is that of means (σ²/n) and of standard
    # deviations (σ²/2n), times the squared derivatives 2Δμ and 2Δσ.
    error = np.sqrt(sum(4 * s**2 / m + 4 * s**2 / (2 * m) for s, m in zip((1, 2), n, strict=True)))
    random = np.random.default_rng(0)
    halves, covered = [], []
    for _ in range(150):
        first = random.normal(0, 1, (n[0], 1)).astype(np.float32)
        second = random.normal(1, 2, (n[1], 1)).astype(np.float32)
        cell = frechet_value(
            FeatureSet(first), FeatureSet(second), seed=0, min_samples=2, small_sets=False,
            paired=False,
        )  # fmt: skip
        assert cell.ci_low is not None
        assert cell.ci_high is not None
        halves.append((cell.ci_high - cell.ci_low) / 2)
        covered.append(cell.ci_low <= 2 <= cell.ci_high)
    assert np.mean(halves) == pytest.approx(2.093 * error, rel=0.1)
    assert 0.9 < np.mean(covered) <= 1


@pytest.mark.parametrize(("left_out", "shares"), [([1.0], [1.0]), ([1.0, 2.0], [0.5])])
def test_too_few_or_unequal_lists_are_refused(left_out: list[float], shares: list[float]) -> None:
    with pytest.raises(ValueError, match="give one for each of 2 or more"):
        jackknife_interval(1.0, left_out, shares)
