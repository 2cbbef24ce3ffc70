from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics.features import FeatureSet
from harness.metrics.kid import kernel_inception_distance, kid_of_few


def test_zeros_against_ones():
    zeros, ones = np.zeros((20, 16), np.float32), np.ones((20, 16), np.float32)
    distance = kernel_inception_distance(zeros, ones, subsets=3, subset_size=10)
    assert distance.mean == pytest.approx(7, abs=1e-12)
    assert distance.std == pytest.approx(0, abs=1e-12)


@pytest.mark.parity
def test_matches_torch_fidelity():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(300, 32)), rng.normal(0.3, 1.2, size=(250, 32))
    peer = kid_features_to_metric(
        torch.from_numpy(first),
        torch.from_numpy(second),
        kid_subsets=20,
        kid_subset_size=100,
        rng_seed=2020,
        verbose=False,
    )
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        distance = kernel_inception_distance(
            first.astype(dtype), second.astype(dtype), subsets=20, subset_size=100
        )
        assert distance.mean == pytest.approx(peer["kernel_inception_distance_mean"], rel=tolerance)
        assert distance.std == pytest.approx(peer["kernel_inception_distance_std"], rel=tolerance)


def test_same_distribution_is_near_zero_and_the_seed_matters():
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(500, 8)).astype(np.float32) for _ in range(2))
    values = [
        kernel_inception_distance(first, second, subsets=10, subset_size=200, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert values[0] == values[1] != values[2]
    assert abs(values[0].mean) < 0.1


def test_bad_input_is_named():
    rows = np.zeros((50, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="first has 50 rows; at least 1000"):
        kernel_inception_distance(rows, rows)
    with pytest.raises(ValueError, match="4 columns and second has 3"):
        kernel_inception_distance(rows, rows[:, :3], subset_size=10)
    with pytest.raises(ValueError, match="subsets of 1"):
        kernel_inception_distance(rows, rows, subset_size=1)


def few(x: np.ndarray, y: np.ndarray, *, paired: bool) -> MetricValue:
    sets = (FeatureSet(each.astype(np.float32)) for each in (x, y))
    return kid_of_few(*sets, paired=paired, most=2048)


def by_loops(x: np.ndarray, y: np.ndarray, *, paired: bool) -> float:
    def mean(a: np.ndarray, b: np.ndarray, *, others: bool) -> float:
        return float(
            np.mean(
                [
                    (p @ q / len(p) + 1) ** 3
                    for i, p in enumerate(a)
                    for j, q in enumerate(b)
                    if not others or i != j
                ]
            )
        )

    own = mean(x, x, others=True) + mean(y, y, others=True)
    return own - 2 * mean(x, y, others=paired)


@pytest.mark.parametrize("paired", [True, False])
def test_few_images_give_the_whole_sets_statistic_and_its_jackknife(paired: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 5)).astype(np.float32).astype(float)
    y = (x if paired else x[:6]) + rng.normal(size=(7 if paired else 6, 5))
    y = y.astype(np.float32).astype(float)
    cell = few(x, y, paired=paired)
    assert cell.value == pytest.approx(by_loops(x, y, paired=paired), rel=1e-9)

    def spread(values: list[float]) -> float:
        return (len(values) - 1) * float(np.var(values))

    def without(rows: np.ndarray, i: int) -> np.ndarray:
        return np.delete(rows, i, axis=0)

    if paired:
        variance = spread([by_loops(without(x, i), without(y, i), paired=True) for i in range(7)])
    else:
        variance = spread([by_loops(without(x, i), y, paired=False) for i in range(7)])
        variance += spread([by_loops(x, without(y, i), paired=False) for i in range(6)])
    assert cell.half_interval == pytest.approx(1.959964 * variance**0.5, rel=1e-6)
    assert cell.note == "of few images: FID needs 2048"


def test_an_original_beside_its_reconstruction_does_not_lower_the_distance_of_few() -> None:
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(200):
        x = rng.normal(size=(12, 16))
        noise = rng.normal(size=(12, 16))
        # The reconstruction is close to its original and has the originals' distribution.
        draws.append((x, 0.95 * x + (1 - 0.95**2) ** 0.5 * noise))
    values = [few(x, y, paired=True).value for x, y in draws]
    as_strangers = [few(x, y, paired=False).value for x, y in draws]
    error = np.std(values) / len(values) ** 0.5
    assert abs(np.mean(values)) < 4 * error
    assert np.mean(as_strangers) < -0.5


def test_sets_for_fid_and_sets_without_an_interval_have_no_distance_of_few() -> None:
    rows = np.random.default_rng(0).normal(size=(2048, 4))
    with pytest.raises(Unavailable, match="2048 images are enough for FID"):
        few(rows, rows, paired=True)
    with pytest.raises(Unavailable, match="no interval of 2 images; 3 are"):
        few(rows[:2], rows[:2], paired=True)
    larger = np.concatenate([rows, rows])
    assert few(larger, rows[:20], paired=False).n == 20
