"""Rows are greedily filled, and the same whatever asks for them."""

from __future__ import annotations

import numpy as np
import pytest

from uniwetok.train.mllm.data.packing import PackedOrder, pack
from uniwetok.train.mllm.data.sizes import SizeRule


def test_rows_are_filled_in_order() -> None:
    assert pack(np.array([4, 3, 3, 5, 10, 1], np.int32), 10).tolist() == [0, 3, 4, 5, 6]
    assert pack(np.array([10], np.int32), 10).tolist() == [0, 1]


def test_an_epoch_holds_every_sample_once_and_no_row_is_too_long() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 50, 500).astype(np.int32)
    samples = np.flatnonzero(tokens < 45)
    order = PackedOrder(samples, tokens, limit=100, seed=3)
    seen: dict[int, list[int]] = {}
    position = 0
    while True:
        epochs, row = zip(*order.row(position), strict=True)
        if epochs[0] == 2:
            break
        assert 0 < tokens[list(row)].sum() <= 100
        seen.setdefault(epochs[0], []).extend(row)
        position += 1
    assert sorted(seen[0]) == sorted(seen[1]) == samples.tolist()
    assert seen[0] != seen[1]
    assert order.progress(position) == {"epoch": 2}
    # Another one that starts late, and a seed that differs.
    later = PackedOrder(samples, tokens, limit=100, seed=3)
    assert [later.row(p) for p in (70, 3)] == [order.row(p) for p in (70, 3)]
    assert PackedOrder(samples, tokens, limit=100, seed=4).row(0) != order.row(0)


def test_a_mixture_packs_samples_by_weight_and_each_source_in_its_own_epochs() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 40, 60).astype(np.int32)
    mixture, ends = ("few@3", "many@1"), (10, 60)
    order = PackedOrder(np.arange(60), tokens, 100, 3, mixture, ends)
    rows = [order.row(position) for position in range(600)]
    assert all(0 < tokens[[sample for _, sample in row]].sum() <= 100 for row in rows)
    drawn = [pair for row in rows for pair in row]
    few = [pair for pair in drawn if pair[1] < 10]
    assert abs(len(few) / len(drawn) - 0.75) < 0.02
    for epoch in range(5):
        assert sorted(sample for each, sample in few if each == epoch) == list(range(10))
    later = PackedOrder(np.arange(60), tokens, 100, 3, mixture, ends)
    assert later.row(431) == rows[431]
    progress = later.progress(600)
    assert progress["samples/few"] == len(few)
    assert progress["epochs/many"] == (len(drawn) - len(few)) / 50


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (640, 480)),
        ((600, 500), (608, 512)),
        ((2000, 1000), (1408, 736)),
        ((10, 10), (64, 64)),
        ((64, 6400), (64, 4096)),
        ((4000, 4000), (1024, 1024)),
    ],
)
def test_sizes_are_whole_tokens(size: tuple[int, int], expected: tuple[int, int]) -> None:
    rule = SizeRule()
    assert rule.nearest(*size) == expected
    height, width = rule.nearest(*size)
    assert height % 32 == width % 32 == 0
    assert height * width <= rule.most_area


def test_sizes_of_patches_and_strips() -> None:
    assert SizeRule(multiple=128).nearest(600, 500) == (640, 512)
    assert SizeRule().stretch(64, 6400) == pytest.approx(6400 / 4096)
    assert SizeRule().stretch(10, 400) > 2
    assert SizeRule().stretch(640, 480) == 1
