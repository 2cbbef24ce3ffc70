from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from threadpoolctl import threadpool_limits
from torch_fidelity.metric_fid import fid_statistics_to_metric

from harness.metrics import stats
from harness.metrics.features import FeatureSet, FeatureStatistics, FeatureSums
from harness.metrics.frechet import (
    frechet_distance,
    frechet_distance_at_infinity,
    frechet_distance_from_features,
    frechet_distance_to_statistics,
    frechet_value,
)

SEEDS = st.integers(0, 2**32 - 1)


def _statistics(mean, covariance):
    return FeatureStatistics(np.asarray(mean, float), np.asarray(covariance, float), None)


def _random_statistics(rng, width):
    factor = rng.normal(size=(width, width + 5))
    return _statistics(rng.normal(size=width), factor @ factor.T)


def _rotation(rng, width):
    return np.linalg.qr(rng.normal(size=(width, width)))[0]


@pytest.fixture(scope="module")
def wide_rotation():
    return _rotation(np.random.default_rng(0), 2048)


def test_one_dimension():
    assert frechet_distance(_statistics([0], [[1]]), _statistics([3], [[4]])) == pytest.approx(10)


def test_covariances_that_do_not_commute():
    first, second = _statistics([0, 0], [[2, 1], [1, 2]]), _statistics([0, 0], np.diag([1, 3]))
    # For 2x2 matrices (tr (AB)^½)² = tr AB + 2·√det AB, here 8 + 2·3.
    assert frechet_distance(first, second) == pytest.approx(8 - 2 * np.sqrt(14), rel=1e-12)
    assert frechet_distance(first, second) == pytest.approx(0.5166852264521173, rel=1e-12)


def test_singular_covariances():
    value = frechet_distance(
        _statistics([0, 0], np.diag([1, 0])), _statistics([0, 0], np.diag([0, 1]))
    )
    assert value == pytest.approx(2, rel=1e-12)
    zero = _statistics([0, 0], np.zeros((2, 2)))
    assert frechet_distance(zero, _statistics([1, 0], np.eye(2))) == pytest.approx(3)


def test_scaled_identity_in_2048_dimensions():
    first = _statistics(np.zeros(2048), np.eye(2048))
    second = _statistics(np.full(2048, 0.01), 1.21 * np.eye(2048))
    assert frechet_distance(first, second) == pytest.approx(20.6848, rel=1e-12)


@pytest.mark.parametrize(
    ("rank", "expected"), [(2048, 0.02390640090783136), (1000, 0.022603629213070416)]
)
def test_rotated_spectra_in_2048_dimensions(wide_rotation, rank, expected):
    place = np.arange(1, 2049)
    spectrum = np.where(place <= rank, 3.0 * place**-1.1, 0)
    spectra = spectrum, spectrum * (1 + 0.1 * np.sin(place))
    first, second = (
        _statistics(np.zeros(2048), (wide_rotation * values) @ wide_rotation.T)
        for values in spectra
    )
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parity
def test_matches_torch_fidelity():
    rng = np.random.default_rng(0)
    first, second = _random_statistics(rng, 64), _random_statistics(rng, 64)
    peer = fid_statistics_to_metric(
        {"mu": first.mean, "sigma": first.covariance},
        {"mu": second.mean, "sigma": second.covariance},
        verbose=False,
    )["frechet_inception_distance"]
    assert frechet_distance(first, second) == pytest.approx(peer, rel=1e-9)


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 30), st.floats(0.01, 100))
def test_rotation_shift_and_scale(seed, width, scale):
    rng = np.random.default_rng(seed)
    first, second = _random_statistics(rng, width), _random_statistics(rng, width)
    rotation, shift = _rotation(rng, width) * scale, rng.normal(size=width)
    moved = [
        _statistics(rotation @ s.mean + shift, rotation @ s.covariance @ rotation.T)
        for s in (first, second)
    ]
    expected = frechet_distance(first, second)
    assert frechet_distance(*moved) == pytest.approx(scale**2 * expected, rel=1e-8)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25)
@given(SEEDS, st.integers(2, 60), st.integers(1, 40))
def test_a_set_is_at_distance_zero_from_itself(seed, count, width):
    features = np.random.default_rng(seed).normal(size=(count, width))
    statistics = FeatureSums.from_features(features).statistics()
    assert abs(frechet_distance(statistics, statistics)) <= 1e-9
    assert abs(frechet_distance_from_features(features, features)) <= 1e-9


@settings(max_examples=25)
@given(SEEDS, st.integers(2, 12), st.integers(2, 12))
def test_route_by_features_equals_route_by_statistics(seed, count_1, count_2):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(count_1, 8)).astype(np.float32)
    second = rng.normal(size=(count_2, 8)).astype(np.float32) * 2
    expected = frechet_distance(
        FeatureSums.from_features(first).statistics(),
        FeatureSums.from_features(second).statistics(),
    )
    assert frechet_distance_from_features(first, second) == pytest.approx(expected, rel=1e-6)


def test_fewer_samples_than_columns_is_exact():
    # Samples ±a·eᵢ have covariances that are diagonal and known; half the columns are unused.
    axes = np.eye(20)[:10]
    first, second = (np.vstack([scale * axes, -scale * axes]) for scale in (1.0, 3.0))
    expected = 10 * 2 / 19 * (3 - 1) ** 2
    value = frechet_distance_from_features(first.astype(np.float32), second.astype(np.float32))
    assert value == pytest.approx(expected, rel=1e-12)


def test_extrapolation_finds_the_intercept_of_a_line_over_the_reciprocal_size():
    sizes = [5000, 10_000, 20_000, 50_000]
    distances = [3.5 + 8000 / size for size in sizes]
    assert frechet_distance_at_infinity(sizes, distances) == pytest.approx(3.5, rel=1e-9)


def test_bad_input_is_named():
    one, two = _statistics([0], [[1]]), _statistics([0, 0], np.eye(2))
    with pytest.raises(ValueError, match="first has 1 columns and second has 2"):
        frechet_distance(one, two)
    rows = np.zeros((3, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="second has 1 rows; at least 2"):
        frechet_distance_from_features(rows, rows[:1])
    with pytest.raises(ValueError, match="first has 0 rows"):
        frechet_distance_from_features(rows[:0], rows)
    with pytest.raises(ValueError, match="2 columns and second has 1"):
        frechet_distance_from_features(rows, rows[:, :1])
    broken = rows.copy()
    broken[1, 0] = np.nan
    with pytest.raises(ValueError, match="second row 1 is not finite"):
        frechet_distance_from_features(rows, broken)
    with pytest.raises(ValueError, match="two or more different sizes"):
        frechet_distance_at_infinity([5, 5], [1.0, 1.0])


@pytest.mark.parametrize("rows", [2, 5, 40, 64, 65, 200])
def test_distance_to_statistics_is_the_distance_between_statistics(rows):
    rng = np.random.default_rng(rows)
    known = FeatureSums.from_features(rng.normal(size=(500, 64)).astype(np.float32)).statistics()
    features = (2 * rng.normal(size=(rows, 64)) + 1).astype(np.float32)
    expected = frechet_distance(known, FeatureSums.from_features(features).statistics())
    assert frechet_distance_to_statistics(known, features) == pytest.approx(expected, rel=1e-9)


def test_distance_to_statistics_refuses_other_widths():
    known = FeatureSums.from_features(np.random.default_rng(0).normal(size=(9, 4))).statistics()
    with pytest.raises(ValueError, match="first has 4 columns and second has 3"):
        frechet_distance_to_statistics(known, np.zeros((5, 3), np.float32))


@pytest.mark.parametrize("rows", [200, 900])
def test_neither_value_nor_interval_depends_on_the_cores(rows, monkeypatch):
    """BLAS gives other last bits on other numbers of threads; pools may be of any size."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(600, 600)).astype(np.float32)
    sets = [FeatureSet(rng.normal(size=(rows, 600)).astype(np.float32) @ mix) for _ in range(2)]
    chosen = {"seed": 0, "min_samples": 2, "small_sets": True, "paired": True}
    cells = []
    for blas_threads, pool in ((1, 1), (2, 2), (3, 8)):
        monkeypatch.setattr(stats, "_MOST_THREADS", pool)
        with threadpool_limits(blas_threads, user_api="blas"):
            cells.append(frechet_value(*sets, **chosen, extrapolate=True))
    assert cells[0] == cells[1] == cells[2]


def test_the_jackknife_leaves_out_what_it_says():
    """Sums less a group's are those of the other rows, by another way of summing."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(700, 50)).astype(np.float32)
    out = rng.random(700) < 0.1
    rest = FeatureSums.from_features(features) - FeatureSums.of_part(features[out])
    truth = FeatureSums.from_features(features[~out])
    assert rest.count == truth.count
    np.testing.assert_allclose(rest.total, truth.total, rtol=0, atol=1e-10)
    np.testing.assert_allclose(rest.outer, truth.outer, rtol=0, atol=1e-10)
