from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from uniwetok.train.data.order import EpochOrder

PARTS = st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(sum)


def order(parts: list[int], seed: int = 0, shuffle_shards: int = 3) -> EpochOrder:
    return EpochOrder(np.array(parts), seed=seed, shuffle_shards=shuffle_shards)


@given(PARTS, st.integers(0, 3), st.integers(1, 12))
def test_every_epoch_visits_every_image_once(parts: list[int], epoch: int, span: int) -> None:
    visited = order(parts, shuffle_shards=span).epoch(epoch)
    assert sorted(visited) == list(range(sum(parts)))


@given(PARTS, st.integers(1, 12), st.data())
def test_positions_in_any_order_agree_with_the_epochs(
    parts: list[int], span: int, data: st.DataObject
) -> None:
    endless = order(parts, shuffle_shards=span)
    expected = np.concatenate([endless.epoch(0), endless.epoch(1), endless.epoch(2)])
    positions = data.draw(st.lists(st.integers(0, len(expected) - 1)))
    assert [endless.index(position) for position in positions] == list(expected[positions])


def test_seeds_and_epochs_differ() -> None:
    orders = [order([50], seed=seed).epoch(epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(indices) for indices in orders}) == 4
    assert list(order([50]).epoch(1)) == list(order([50]).epoch(1))


def test_few_shards_are_read_at_a_time() -> None:
    parts = [10] * 20
    shards = order(parts, shuffle_shards=4).epoch(0) // 10
    windows = shards.reshape(5, 40)
    assert [len(set(window)) for window in windows] == [4] * 5
    # Within a window they are mixed: one after another would change shard only three times.
    assert all((np.diff(window) != 0).sum() > 10 for window in windows)
    assert list(windows[:, 0]) != sorted(windows[:, 0])
