from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from harness.metrics.codebook import whole_and_rests


def _counts(symbols, n_embed=256):
    return whole_and_rests([symbols], n_embed)[0]


def _summary(counts):
    return (
        counts.tokens,
        counts.pooled_usage,
        counts.group_usage.tolist(),
        counts.joint_usage,
        counts.pooled_perplexity,
        counts.group_perplexity.tolist(),
        counts.distinct_tokens,
    )


def test_published_usage_and_perplexity():
    symbols = np.array([0, 0, 0, 2, 2, 4, 4, 7], dtype=np.uint8)[:, None]
    counts = _counts(symbols, n_embed=8)
    assert counts.pooled_usage == 0.5
    assert counts.pooled_perplexity == pytest.approx(3.7467482975, abs=1e-10)
    assert counts.joint_usage == 0.5


def test_pooled_usage_can_be_full_where_groups_and_tokens_are_not():
    symbols = np.stack([np.arange(128), np.arange(128, 256)], axis=1).astype(np.uint8)
    counts = _counts(symbols)
    assert counts.pooled_usage == 1
    assert counts.group_usage.tolist() == [0.5, 0.5]
    assert counts.distinct_tokens == 128
    assert counts.joint_usage == 1
    assert counts.group_perplexity == pytest.approx([128, 128])
    assert whole_and_rests([symbols, symbols], 256)[0].joint_usage == 0.5


def test_joint_usage_is_over_the_codebook_where_it_is_small():
    symbols = np.array([[0, 0], [0, 1], [1, 0], [0, 0], [0, 1], [1, 0]], dtype=np.uint8)
    assert _counts(symbols, n_embed=2).joint_usage == 0.75


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3, 8, 16]),
    st.sampled_from([2, 256, 65536]),
    st.lists(st.integers(0, 60), min_size=1, max_size=4),
)
def test_how_tokens_are_parted_does_not_matter(seed, groups, n_embed, sizes):
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, min(n_embed, 4), (size, groups)) for size in [*sizes, 1]]
    whole = np.concatenate(parts)
    parted, _ = whole_and_rests(parts, n_embed)
    assert _summary(parted) == _summary(_counts(whole, n_embed))
    assert parted.distinct_tokens == len(np.unique(whole, axis=0))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="no tokens"):
        _counts(np.zeros((0, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"span \[0, 16\], outside \[0, 15\]"):
        _counts(np.array([[0, 16]], dtype=np.uint8), 16)
    with pytest.raises(ValueError, match=r"\(3,\); give integers \(tokens, groups\)"):
        whole_and_rests([np.zeros(3, dtype=np.uint8)], 16)
    with pytest.raises(ValueError, match="symbols are float64"):
        _counts(np.zeros((1, 2)))


@pytest.mark.parametrize("n_embed", [4, 256, 300])
def test_counts_without_a_part_are_those_of_the_rest(n_embed: int) -> None:
    draws = np.random.default_rng(5)
    sets = [draws.integers(0, n_embed, (40, 3)) % 5 for _ in range(3)] + [np.zeros((0, 3), int)]
    whole, rests = whole_and_rests([part % n_embed for part in sets], n_embed)
    assert whole.tokens == 120
    lefts = list(rests)
    for number, left in [(None, whole), *enumerate(lefts)]:
        others = [part % n_embed for index, part in enumerate(sets) if index != number]
        assert _summary(left) == _summary(_counts(np.concatenate(others), n_embed))
    assert len(lefts) == 4


def test_parts_are_checked_like_tokens() -> None:
    with pytest.raises(ValueError, match="outside"):
        whole_and_rests([np.array([[0, 9]])], 4)
