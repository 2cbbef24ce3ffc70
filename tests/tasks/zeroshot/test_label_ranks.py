from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tasks.zeroshot.scores import label_ranks


def test_ties_go_to_the_lower_index():
    scores = np.array([[1.0, 2.0, 2.0, 0.0]] * 4)
    assert label_ranks(scores, np.arange(4)).tolist() == [2, 0, 1, 3]


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_ranks_are_those_of_a_stable_sort(seed, classes):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (20, classes)).astype(np.float32)
    labels = rng.integers(0, classes, 20)
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = [
        int(np.flatnonzero(row == label)[0]) for row, label in zip(order, labels, strict=True)
    ]
    assert label_ranks(scores, labels).tolist() == expected


def test_bad_input_is_named():
    scores = np.zeros((2, 3))
    with pytest.raises(ValueError, match="label 3 of row 1 is outside"):
        label_ranks(scores, np.array([0, 3]))
    with pytest.raises(ValueError, match="label -1 of row 0"):
        label_ranks(scores, np.array([-1, 0]))
    with pytest.raises(ValueError, match=r"labels are int64 \(3,\) for 2"):
        label_ranks(scores, np.arange(3))
    with pytest.raises(ValueError, match="labels are float64"):
        label_ranks(scores, np.zeros(2))
    with pytest.raises(ValueError, match="row 0 is not finite"):
        label_ranks(np.full((2, 3), np.nan), np.zeros(2, dtype=int))
