from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from harness.metrics.kid import kernel_inception_distance


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
