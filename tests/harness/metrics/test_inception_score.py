from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.special import softmax
from torch_fidelity.metric_isc import isc_features_to_metric

from harness.metrics.inception_score import MarginalSums, inception_score, split_rows


def _one_hot(labels, classes=10):
    return np.where(np.arange(classes) == np.asarray(labels)[:, None], 1000.0, 0.0)


def test_confident_and_balanced_reaches_the_number_of_classes():
    round_robin = _one_hot(np.arange(1000) % 10)
    for rule in ("single", "adm"):
        assert inception_score(round_robin, rule).mean == pytest.approx(10, rel=1e-12)


def test_class_sorted_samples_without_shuffle_score_one():
    logits = _one_hot(np.arange(50_000) // 5000)
    assert inception_score(logits, "adm").mean == pytest.approx(1, rel=1e-12)
    assert inception_score(logits, "single").mean == pytest.approx(10, rel=1e-12)


def test_constant_logits_score_one():
    assert inception_score(np.ones((20, 7)), "torch-fidelity") == pytest.approx((1, 0), abs=1e-12)


def test_mixture_of_two_distributions():
    logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]] * 5)
    assert inception_score(logits, "single").mean == pytest.approx(1.2880141523134616, rel=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("count", [10, 1003])
def test_matches_torch_fidelity(count):
    logits = (np.random.default_rng(0).normal(size=(count, 1008)) * 3).astype(np.float32)
    peer = isc_features_to_metric(torch.from_numpy(logits))
    score = inception_score(logits, "torch-fidelity")
    assert score.mean == pytest.approx(peer["inception_score_mean"], rel=1e-9)
    assert score.std == pytest.approx(peer["inception_score_std"], rel=1e-9)


@pytest.mark.parity
def test_matches_the_adm_formula():
    logits = np.random.default_rng(0).normal(size=(12_000, 12)) * 3
    scores = []
    for start in range(0, len(logits), 5000):
        part = softmax(logits[start : start + 5000], axis=1)
        divergence = part * (np.log(part) - np.log(part.mean(axis=0, keepdims=True)))
        scores.append(np.exp(divergence.sum(axis=1).mean()))
    assert inception_score(logits, "adm").mean == pytest.approx(np.mean(scores), rel=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 29))
def test_sums_merge_and_order_does_not_matter(seed, cut):
    logits = np.random.default_rng(seed).normal(size=(30, 5)) * 4
    whole, first, second = (MarginalSums(5) for _ in range(3))
    whole.add(logits[::-1])
    first.add(logits[:cut])
    second.add(logits[cut:])
    first.merge(second)
    assert first.score() == pytest.approx(whole.score(), rel=1e-12)
    assert 1 - 1e-12 <= whole.score() <= 5


def test_splits_cover_every_sample_once():
    for rule in ("torch-fidelity", "adm", "single"):
        rows = np.concatenate(split_rows(12_345, rule))
        assert np.array_equal(np.sort(rows), np.arange(12_345))
    assert len(split_rows(50_000, "adm")) == len(split_rows(50_000, "torch-fidelity")) == 10


def test_bad_input_is_named():
    logits = np.zeros((5, 3))
    with pytest.raises(ValueError, match="5 samples cannot fill 10 splits"):
        inception_score(logits, "torch-fidelity")
    with pytest.raises(ValueError, match="'openai' is unknown"):
        inception_score(logits, "openai")
    with pytest.raises(ValueError, match="0 rows"):
        inception_score(logits[:0], "single")
    with pytest.raises(ValueError, match="row 2 is not finite"):
        inception_score(np.where(np.arange(5)[:, None] == 2, np.nan, logits), "single")
    with pytest.raises(ValueError, match="no samples"):
        MarginalSums(3).score()
