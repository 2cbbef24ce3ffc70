from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics import codebook
from harness.metrics.codebook import CodebookCounts, whole_and_rests


def _counts(symbols, n_embed=256):
    counts = CodebookCounts(symbols.shape[1], n_embed)
    counts.add(symbols)
    return counts


def _summary(counts):
    return (
        counts.tokens,
        counts.pooled_usage,
        counts.group_usage.tolist(),
        counts.joint_usage,
        counts.pooled_perplexity,
        counts.group_perplexity.tolist(),
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
    counts.add(symbols)
    assert counts.joint_usage == 0.5


def test_joint_usage_is_over_the_codebook_where_it_is_small():
    symbols = np.array([[0, 0], [0, 1], [1, 0], [0, 0], [0, 1], [1, 0]], dtype=np.uint8)
    assert _counts(symbols, n_embed=2).joint_usage == 0.75


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3, 8, 16]),
    st.sampled_from([2, 256, 65536]),
    st.lists(st.integers(0, 60), min_size=1, max_size=4),
)
def test_batches_and_merging_do_not_matter(seed, groups, n_embed, sizes):
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, min(n_embed, 4), (size, groups)) for size in [*sizes, 1]]
    whole = np.concatenate(parts)
    streamed, merged = CodebookCounts(groups, n_embed), CodebookCounts(groups, n_embed)
    for part in parts:
        streamed.add(part)
        merged.merge(_counts(part, n_embed))
    assert _summary(streamed) == _summary(merged) == _summary(_counts(whole, n_embed))
    assert streamed.distinct_tokens == len(np.unique(whole, axis=0))


def test_counting_does_not_wait_for_the_end(monkeypatch):
    symbols = np.random.default_rng(0).integers(0, 4, (1000, 2), dtype=np.uint8)
    expected = _summary(_counts(symbols))
    monkeypatch.setattr(codebook, "_PENDING", 10)
    counts = CodebookCounts(2)
    for start in range(0, 1000, 7):
        counts.add(symbols[start : start + 7])
    assert _summary(counts) == expected


def test_bad_input_is_named():
    counts = CodebookCounts(2, 16)
    with pytest.raises(ValueError, match="no tokens"):
        _ = counts.pooled_usage
    with pytest.raises(ValueError, match=r"span \[0, 16\], outside \[0, 15\]"):
        counts.add(np.array([[0, 16]], dtype=np.uint8))
    with pytest.raises(ValueError, match=r"\(1, 3\); give integers \(tokens, 2\)"):
        counts.add(np.zeros((1, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="symbols are float64"):
        counts.add(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="do not merge"):
        counts.merge(CodebookCounts(2, 8))
    with pytest.raises(ValueError, match="0 groups"):
        CodebookCounts(0)


@pytest.mark.parametrize("n_embed", [4, 256, 300])
def test_counts_without_a_part_are_those_of_the_rest(n_embed: int) -> None:
    draws = np.random.default_rng(5)
    sets = [draws.integers(0, n_embed, (40, 3)) % 5 for _ in range(3)] + [np.zeros((0, 3), int)]
    whole, rests = whole_and_rests([part % n_embed for part in sets], n_embed)
    assert whole.tokens == 120
    lefts = list(rests)
    for number, left in [(None, whole), *enumerate(lefts)]:
        rest = CodebookCounts(3, n_embed)
        for index, part in enumerate(sets):
            if index != number:
                rest.add(part % n_embed)
        assert left.tokens == rest.tokens
        assert left.distinct_tokens == rest.distinct_tokens
        assert left.joint_usage == rest.joint_usage
        assert left.pooled_usage == rest.pooled_usage
        np.testing.assert_array_equal(left.group_usage, rest.group_usage)
        np.testing.assert_array_equal(left.group_perplexity, rest.group_perplexity)
    assert len(lefts) == 4


def test_parts_are_checked_like_tokens() -> None:
    with pytest.raises(ValueError, match="outside"):
        whole_and_rests([np.array([[0, 9]])], 4)
