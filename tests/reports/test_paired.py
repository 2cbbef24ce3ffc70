"""Paired differences beside the harness's own bootstrap and scipy's paired test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.metrics.stats import mean_interval, psnr_of_mean_error
from reports.paired import paired_differences


def equal(n: int) -> np.ndarray:
    return np.full(n, 1 / n)


def test_interval_is_that_of_the_mean_of_differences() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(22, 3, 400)
    b = a + rng.normal(0.1, 0.5, 400)
    found = paired_differences({"psnr": a}, {"psnr": b}, {"psnr": equal(400)}, 0)["psnr"]
    low, high, _ = mean_interval(b - a, 0)
    assert found.difference == pytest.approx((b - a).mean())
    assert (found.mean_a, found.mean_b) == pytest.approx((a.mean(), b.mean()))
    assert found.ci_low == pytest.approx(low, rel=0.05)
    assert found.ci_high == pytest.approx(high, rel=0.05)


def test_pairing_sees_what_separate_intervals_cannot() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(22, 3, 200)
    b = a + 0.1 + rng.normal(0, 0.1, 200)
    found = paired_differences({"psnr": a}, {"psnr": b}, {"psnr": equal(200)}, 0)["psnr"]
    assert found.ci_low is not None
    assert found.ci_low > 0
    separate = [mean_interval(values, 0) for values in (a, b)]
    assert separate[0].high is not None
    assert separate[1].low is not None
    assert separate[1].low < separate[0].high


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.06, 0.2])
def test_p_value_is_near_the_t_tests_and_agrees_with_the_interval(shift: float) -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(22, 3, 300)
    b = a + shift + rng.normal(0, 0.4, 300)
    found = paired_differences({"psnr": a}, {"psnr": b}, {"psnr": equal(300)}, 0, resamples=2000)[
        "psnr"
    ]
    assert found.p_value == pytest.approx(stats.ttest_rel(b, a).pvalue, abs=0.03)
    assert found.p_value is not None
    assert found.ci_low is not None
    assert found.ci_high is not None
    excluded = found.ci_low > 0 or found.ci_high < 0
    assert excluded == (found.p_value < 0.05)


def test_p_values_of_no_difference_are_spread_out() -> None:
    rng = np.random.default_rng(4)
    small = 0
    for seed in range(100):
        a, b = rng.normal(0, 1, (2, 60))
        found = paired_differences({"m": a}, {"m": b}, {"m": equal(60)}, seed, resamples=200)["m"]
        assert found.p_value is not None
        small += found.p_value < 0.1
    assert 2 <= small <= 22


def test_pairs_without_finite_values_are_left_out_of_their_metric_alone() -> None:
    a = {"psnr": np.array([20.0, np.inf, 22.0, 23.0]), "ssim": np.array([0.1, 0.2, 0.3, 0.4])}
    b = {"psnr": np.array([21.0, 25.0, np.nan, 25.0]), "ssim": np.array([0.2, 0.2, 0.3, 0.4])}
    found = paired_differences(a, b, dict.fromkeys(a, equal(4)), 0)
    assert (found["psnr"].n, found["psnr"].n_left_out) == (2, 2)
    assert found["psnr"].difference == pytest.approx(1.5)
    assert (found["ssim"].n, found["ssim"].n_left_out) == (4, 0)


def test_weights_are_the_protocols() -> None:
    a, b = np.zeros(3), np.array([1.0, 2.0, 6.0])
    weights = np.array([0.5, 0.25, 0.25])
    assert paired_differences({"m": a}, {"m": b}, {"m": weights}, 0)[
        "m"
    ].difference == pytest.approx(2.5)


def test_nothing_and_one_pair_have_no_interval() -> None:
    one = paired_differences({"m": np.array([1.0])}, {"m": np.array([2.0])}, {"m": equal(1)}, 0)[
        "m"
    ]
    assert (one.difference, one.ci_low, one.p_value) == (1.0, None, None)
    none = paired_differences(
        {"m": np.array([np.nan])}, {"m": np.array([2.0])}, {"m": equal(1)}, 0
    )["m"]
    assert (none.n, none.ci_low) == (0, None)
    assert np.isnan(none.difference)
    assert paired_differences({}, {}, {}, 0) == {}


def test_the_seed_decides_the_draws() -> None:
    rng = np.random.default_rng(5)
    a, b = {"m": rng.normal(0, 1, 50)}, {"m": rng.normal(0, 1, 50)}
    weights = {"m": equal(50)}
    assert paired_differences(a, b, weights, 7) == paired_differences(a, b, weights, 7)
    assert paired_differences(a, b, weights, 7) != paired_differences(a, b, weights, 8)


def test_one_cluster_has_no_interval() -> None:
    a, b = {"m": np.arange(4.0)}, {"m": np.arange(4.0) + 1}
    weights = {"m": equal(4)}
    found = paired_differences(a, b, weights, 0, clusters=np.zeros(4, np.int64))["m"]
    assert (found.difference, found.ci_low, found.p_value, found.n) == (1.0, None, None, 4)
    assert (found.n_rose, found.n_fell) == (4, 0)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9])
def test_few_pairs_have_the_interval_of_the_paired_t_test(n: int) -> None:
    a, b = np.random.default_rng(n).normal(0, 1, (2, n))
    found = paired_differences({"m": a}, {"m": b}, {"m": equal(n)}, 0)["m"]
    expected = stats.ttest_rel(b, a)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.p_value == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_few_pairs_or_clusters_raise_few_false_alarms(n: int, size: int) -> None:
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(1000):
        change = rng.normal(0, 1, n).repeat(size) + rng.normal(0, 0.3, n * size)
        a = {"m": np.zeros(n * size)}
        clusters = np.arange(n).repeat(size)
        found = paired_differences(a, {"m": change}, {"m": equal(n * size)}, 0, clusters=clusters)[
            "m"
        ]
        assert found.ci_high is not None
        alarms += found.ci_high < 0
    # Nominally 25 of a thousand.
    assert alarms < 50


def test_pairs_that_became_finite_fell() -> None:
    a = {"psnr": np.array([np.inf, np.inf, np.inf, 20.0, 30.0, np.nan])}
    b = {"psnr": np.array([18.0, 19.0, np.inf, np.inf, 31.0, 5.0])}
    found = paired_differences(a, b, {"psnr": equal(6)}, 0)["psnr"]
    assert (found.n, found.n_left_out, found.n_fell, found.n_rose) == (1, 5, 2, 2)
    assert (found.n_fell_infinite, found.n_rose_infinite, found.n_infinite) == (2, 1, 1)
    assert "2 samples that fell and 1 that rose" in found.infinite


def mean_error_psnr(values: np.ndarray, pixels: np.ndarray) -> float:
    return -10 * float(np.log10(np.average(10 ** (-values / 10), weights=pixels)))


def test_the_psnr_of_the_mean_error_differs_by_two_logarithms() -> None:
    a, b = np.array([20.0, 30, np.inf, 25, np.nan]), np.array([22.0, np.inf, np.inf, 24, 20])
    pixels = np.array([1.0, 4, 2, 1, 9])
    found = paired_differences({"psnr": a}, {"psnr": b}, {"psnr": pixels}, 0, pooled={"psnr"})
    both = [mean_error_psnr(each[:4], pixels[:4]) for each in (a, b)]
    psnr = found["psnr"]
    assert (psnr.mean_a, psnr.mean_b) == pytest.approx(both, rel=1e-12)
    assert psnr.difference == pytest.approx(both[1] - both[0], rel=1e-12)
    assert (psnr.n, psnr.n_left_out, psnr.n_rose, psnr.n_fell) == (4, 1, 2, 1)
    assert not psnr.infinite, "identical images count with an error of 0"
    # All of the error is in one image.
    one = np.array([20.0, np.inf, np.inf])
    found = paired_differences(
        {"psnr": one}, {"psnr": one - 1}, {"psnr": pixels[:3]}, 0, pooled={"psnr"}
    )
    assert found["psnr"].difference == pytest.approx(-1, rel=1e-12)
    exact = {"psnr": np.full(5, np.inf)}
    lost = paired_differences(exact, {"psnr": b}, {"psnr": pixels}, 0, pooled={"psnr"})["psnr"]
    assert (lost.n, lost.n_fell_infinite, lost.ci_low) == (0, 3, None)


@pytest.mark.parametrize("n", [8, 80])
def test_intervals_of_the_psnr_of_the_mean_error_cover_its_true_difference(n: int) -> None:
    rng = np.random.default_rng(5)
    # Errors of images are spread like a lognormal; both runs find the same ones hard.
    hard, own, loss, runs = 0.8, 0.3, 0.1, 400
    covered = narrower = 0
    for seed in range(runs):
        hardness = rng.normal(0, hard, n)
        a, b = (30 - 10 / np.log(10) * (hardness + own * rng.normal(0, 1, n)) for _ in "ab")
        sides = {"psnr": a}, {"psnr": b - loss}
        found = paired_differences(
            *sides, {"psnr": equal(n)}, seed, pooled={"psnr"}, resamples=200
        )["psnr"]
        assert found.ci_low is not None
        assert found.ci_high is not None
        covered += found.ci_low <= -loss <= found.ci_high
        each = psnr_of_mean_error(a, np.ones(n), seed)[1] if seed < 10 else None
        if each is not None and each.low is not None and each.high is not None:
            narrower += found.ci_high - found.ci_low < 2**0.5 * (each.high - each.low) / 1.5
    assert 0.91 <= covered / runs <= 0.985
    assert narrower >= 8, "what both runs have in common cancels"
