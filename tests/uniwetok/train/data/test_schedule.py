from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from uniwetok.train import TrainingError
from uniwetok.train.data.config import DataConfig
from uniwetok.train.data.schedule import Schedule, Share, resolutions

BUCKETS = ((32, 32), (64, 64), (32, 96), (128, 128))


def schedule(batch_size: int, world: int, buckets: tuple[tuple[int, int], ...] = ()) -> Schedule:
    config = DataConfig(resolution=64, buckets=buckets)
    return Schedule(config, batch_size=batch_size, seed=3, world=world)


@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 10**6))
def test_ranks_partition_the_global_batch(each: int, world: int, step: int) -> None:
    shares = [schedule(each * world, world).share(step, rank) for rank in range(world)]
    positions = [p for share in shares for p in range(share.first, share.first + share.count)]
    assert positions == list(range(step * each * world, (step + 1) * each * world))


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1500))
def test_buckets_leave_no_gap(each: int, world: int, first_step: int) -> None:
    """Over steps and ranks, across the edge of a block too, positions follow each other."""
    plan = schedule(each * world, world, BUCKETS)
    shares = [plan.share(first_step + s, rank) for s in range(3) for rank in range(world)]
    for share, following in itertools.pairwise(shares):
        assert following.first == share.first + share.count


def test_buckets_start_at_the_first_position_and_cross_blocks() -> None:
    plan = schedule(8, 2, BUCKETS)
    assert plan.share(0, 0).first == 0
    end = plan.share(1023, 1)
    assert plan.share(1024, 0).first == end.first + end.count
    assert schedule(8, 2, BUCKETS).share(1024, 0) == plan.share(1024, 0)


def test_buckets_are_drawn_alike_and_filled_to_the_budget() -> None:
    plan = schedule(16, 2, BUCKETS)
    shares = [plan.share(step, rank) for step in range(500) for rank in range(2)]
    drawn = Counter(share.size for share in shares)
    assert all(200 < drawn[size] < 300 for size in BUCKETS)
    # 8 images of 64 x 64 a rank.
    assert {(share.size, share.count) for share in shares} == {
        ((32, 32), 32),
        ((64, 64), 8),
        ((32, 96), 10),
        ((128, 128), 2),
    }
    assert any(plan.share(step, 0).size != plan.share(step, 1).size for step in range(10))


SHAPES = ((64, 64), (80, 48), (32, 32), (40, 24), (96, 96))


def fixed(world: int, each: int = 8) -> Schedule:
    config = DataConfig(resolution=64, buckets=SHAPES, partition="fixed")
    return Schedule(config, batch_size=each * world, seed=3, world=world)


def test_sizes_of_about_one_area_are_one_resolution() -> None:
    assert resolutions(SHAPES) == [[2, 3], [0, 1], [4]]


def test_ranks_keep_their_resolution_and_draw_its_shapes() -> None:
    plan = fixed(5)
    for rank, sizes in enumerate([SHAPES[2:4], SHAPES[:2], SHAPES[4:], SHAPES[2:4], SHAPES[:2]]):
        drawn = Counter(plan.share(step, rank).size for step in range(1000, 1400))
        assert drawn.keys() == set(sizes)
        assert min(drawn.values()) > 400 / len(sizes) * 0.8
    assert plan.partition() == [
        ("ranks 0, 3", "32 x 32x32, 34 x 40x24"),
        ("ranks 1, 4", "8 x 64x64, 8 x 80x48"),
        ("rank 2", "3 x 96x96"),
    ]


@pytest.mark.parametrize("world", [1, 2])
def test_fewer_ranks_than_resolutions_take_them_in_turns(world: int) -> None:
    plan = fixed(world)
    groups = [{SHAPES[number] for number in group} for group in resolutions(SHAPES)]
    # Across the edge of a block too.
    taken = [plan.share(step, rank).size for step in range(1020, 1029) for rank in range(world)]
    first = next(number for number, group in enumerate(groups) if taken[0] in group)
    assert all(size in groups[(first + slot) % 3] for slot, size in enumerate(taken))
    following = plan.share(1023, world - 1)
    assert plan.share(1024, 0).first == following.first + following.count


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1500), st.booleans())
def test_shares_weigh_by_their_pixels(each: int, world: int, step: int, partitioned: bool) -> None:
    plan = fixed(world, each) if partitioned else schedule(each * world, world, BUCKETS)
    shares = [plan.share(step, rank) for rank in range(world)]
    pixels = [share.count * share.size[0] * share.size[1] for share in shares]
    for share, own in zip(shares, pixels, strict=True):
        assert share.weight == pytest.approx(own * world / sum(pixels))
    if len(set(pixels)) == 1:
        assert {share.weight for share in shares} == {1.0}, "to the bit: losses stay as they were"


def test_a_bucket_above_the_budget_takes_one_image() -> None:
    assert schedule(1, 1, ((128, 128),)).share(7, 0) == Share(7, 1, (128, 128))


@pytest.mark.parametrize(
    ("batch_size", "world", "nearest"), [(130, 8, "128 or 136"), (3, 8, "8"), (0, 2, "2")]
)
def test_a_batch_that_does_not_divide(batch_size: int, world: int, nearest: str) -> None:
    message = f"batch_size={batch_size} does not divide among {world} processes.*: {nearest}$"
    with pytest.raises(TrainingError, match=message):
        schedule(batch_size, world)
