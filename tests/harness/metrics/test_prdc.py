from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.spatial.distance import cdist
from torch_fidelity.metric_prc import calculate_precision_recall_full

from harness.metrics import prdc
from harness.metrics.prdc import precision_recall


def _column(*values):
    return np.array(values, dtype=np.float32)[:, None]


def _sets(seed, n, m, width=8):
    rng = np.random.default_rng(seed)
    reference = np.maximum(rng.normal(size=(n, width)), 0)
    samples = np.maximum(rng.normal(0.2, 1.1, size=(m, width)), 0)
    return reference.astype(np.float32), samples.astype(np.float32)


def _brute_force(reference, samples, k):
    cross = cdist(reference, samples, "sqeuclidean")
    radii_r, radii_s = (
        np.partition(cdist(x, x, "sqeuclidean"), k, axis=1)[:, k] for x in (reference, samples)
    )
    held = cross <= radii_r[:, None]
    return (
        held.any(axis=0).mean(),
        (cross <= radii_s).any(axis=1).mean(),
        held.sum(axis=0).mean() / k,
        held.any(axis=1).mean(),
    )


def _four(result):
    return result.precision, result.recall, result.density, result.coverage


def test_a_ball_holds_its_border():
    # Every radius is 1; the sample at 3 lies exactly on the border of the reference at 2.
    result = precision_recall(_column(0, 1, 2), _column(3, 4, 5), k=1)
    assert result.sample_inside.tolist() == [True, False, False]
    assert result.reference_inside.tolist() == [False, False, True]
    assert _four(result) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 1 / 3))


def test_duplicates_lie_inside_balls_of_radius_zero():
    same = np.full((10, 4), 0.5, dtype=np.float32)
    assert _four(precision_recall(same, same))[:2] == (1, 1)


def test_identical_sets_cover_each_other():
    reference, _ = _sets(0, 200, 1)
    result = precision_recall(reference, reference)
    assert (result.precision, result.recall, result.coverage) == (1, 1, 1)
    assert result.density >= 1


def test_distant_sets_do_not():
    reference, samples = _sets(0, 50, 60)
    assert _four(precision_recall(reference, samples + 100)) == (0, 0, 0, 0)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(6, 60), st.integers(6, 60), st.integers(1, 5))
def test_equals_brute_force(seed, n, m, k):
    reference, samples = _sets(seed, n, m)
    result = precision_recall(reference, samples, k=k)
    assert _four(result) == pytest.approx(_brute_force(reference, samples, k))


@pytest.mark.parametrize("precision", ["float32", "adm-fp16"])
def test_tiles_do_not_matter(monkeypatch, precision):
    reference, samples = _sets(0, 230, 310, 64)
    expected = precision_recall(reference, samples, precision=precision)
    monkeypatch.setattr(prdc, "_TILE", 50)
    tiled = precision_recall(reference, samples, precision=precision)
    assert np.array_equal(tiled.sample_density, expected.sample_density)
    assert np.array_equal(tiled.reference_inside, expected.reference_inside)


@pytest.mark.parity
def test_matches_torch_fidelity():
    reference, samples = _sets(0, 1300, 1700, 64)
    precision, recall = calculate_precision_recall_full(
        torch.from_numpy(samples), torch.from_numpy(reference)
    )
    result = precision_recall(reference, samples)
    assert (result.precision, result.recall) == pytest.approx((precision, recall), abs=1e-7)
    assert _four(result) == pytest.approx(_brute_force(reference, samples, 3))


@pytest.mark.parity
def test_half_precision_follows_the_adm_algorithm():
    # Few directions in many columns: balls overlap and norms are large enough to be rounded.
    directions = np.random.default_rng(1).random((6, 200), dtype=np.float32)
    reference, samples = (x @ directions for x in _sets(0, 400, 500, 6))

    def half_distances(u, v):
        u, v = u.astype(np.float16), v.astype(np.float16)
        norms = [np.square(x).astype(np.float32).sum(axis=1).astype(np.float16) for x in (u, v)]
        products = (u.astype(np.float32) @ v.astype(np.float32).T).astype(np.float16)
        left = norms[0][:, None] - np.float16(2) * products
        return np.maximum(left + norms[1], np.float16(0)).astype(np.float32)

    radii_r, radii_s = (
        np.partition(half_distances(x, x), 3, axis=1)[:, 3] for x in (reference, samples)
    )
    cross = half_distances(reference, samples)
    result = precision_recall(reference, samples, precision="adm-fp16")
    assert np.array_equal(result.sample_inside, (cross <= radii_r[:, None]).any(axis=0))
    assert np.array_equal(result.reference_inside, (cross <= radii_s).any(axis=1))
    plain = precision_recall(reference, samples)
    assert not np.array_equal(result.sample_density, plain.sample_density)


def test_half_precision_falls_back_where_it_overflows():
    reference, samples = (x * 300 for x in _sets(0, 60, 70))
    expected = precision_recall(reference, samples)
    result = precision_recall(reference, samples, precision="adm-fp16")
    assert np.array_equal(result.sample_density, expected.sample_density)


def test_bad_input_is_named():
    reference, samples = _sets(0, 10, 10)
    with pytest.raises(ValueError, match="samples has 3 rows; at least 4"):
        precision_recall(reference, samples[:3])
    with pytest.raises(ValueError, match="8 columns and samples has 7"):
        precision_recall(reference, samples[:, :7])
    with pytest.raises(ValueError, match="k is 0"):
        precision_recall(reference, samples, k=0)
    with pytest.raises(ValueError, match="reference row 0 is not finite"):
        precision_recall(np.full_like(reference, np.nan), samples)
