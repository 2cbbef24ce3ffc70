"""Blocks and shares: every sample in exactly one place, whatever the number of processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, strategies as st
from torch.distributed import HashStore

from harness.data.manifest import block_size, blocks, step_size
from harness.engine.processes import met_in
from harness.engine.world import World
from harness.interfaces.errors import UserError


@given(n=st.integers(0, 300), size=st.integers(1, 70), world=st.integers(1, 17))
def test_shares_of_blocks_are_disjoint_and_cover_all(n: int, size: int, world: int) -> None:
    whole = blocks(range(n), size)
    shares = [World(rank, world).share(whole) for rank in range(world)]
    assert sorted(item for share in shares for block in share for item in block) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(n=st.integers(0, 300), shards=st.integers(1, 9), world=st.integers(1, 9))
def test_processes_of_shards_have_disjoint_shares_that_cover_all(
    n: int, shards: int, world: int
) -> None:
    worlds = [
        World(rank, world, shard=shard, shards=shards)
        for shard in range(shards)
        for rank in range(world)
    ]
    shares = [each.share(range(n)) for each in worlds]
    assert sorted(item for share in shares for item in share) == list(range(n))


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "a/b", "1/0", "0/0", "1", "", "1/2/3", "-1/4", "1/ 2", "²/4", "1/1e3"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"--shard {text}: give I/N with I from 1 to N"):
        World.from_environment(text)


def test_a_shard_and_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    world = World.from_environment("3/4")
    assert (world.shard, world.shards, world.rank, world.size) == (2, 4, 1, 2)
    assert world.title == "shard 3 of 4, 2 of 2 processes"
    assert World.from_environment("1/1").shards == 1


@given(n=st.integers(0, 300), size=st.integers(1, 70))
def test_blocks_keep_the_order_and_only_the_last_is_short(n: int, size: int) -> None:
    cut = blocks(range(n), size)
    assert [item for block in cut for item in block] == list(range(n))
    assert all(len(block) == size for block in cut[:-1])
    assert all(len(block) > 0 for block in cut)


@pytest.mark.parametrize("size", [0, -1])
def test_block_size_must_be_positive(size: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {size}"):
        blocks([1, 2], size)


@pytest.mark.parametrize(
    ("device", "samples", "size"),
    [
        *[("cpu", 0, 4), ("cpu", 1, 4), ("cpu", 1600, 4), ("cpu", 1601, 16), ("cpu", 50_000, 128)],
        *[("cuda:0", 1, 64), ("cuda:7", 25_600, 64), ("cuda", 25_601, 128)],
        *[("cpu", 1_281_167, 384), ("cuda", 1_281_167, 384)],
    ],
)
def test_blocks_grow_with_the_work(device: str, samples: int, size: int) -> None:
    assert block_size(device, samples) == size
    assert size % step_size(device) == 0


@pytest.mark.parametrize(
    ("samples", "batch", "size"),
    [(100, 65, 128), (100, 256, 256), (50_000, 100, 128), (200_000, 256, 512), (10**6, 1000, 1024)],
)
def test_blocks_hold_whole_batches_of_any_size(samples: int, batch: int, size: int) -> None:
    assert block_size("cuda", samples, batch) == size
    assert size % step_size("cuda", batch) == 0
    assert step_size("cuda", batch) >= batch


@pytest.mark.parametrize(("samples", "files"), [(50_000, 2000), (1_281_167, 20_000)])
def test_runs_leave_no_more_files_than_a_file_system_likes(samples: int, files: int) -> None:
    stages = 5  # Outputs, and what the four extractors of the main task see.
    for device in ("cpu", "cuda"):
        assert stages * -(-samples // block_size(device, samples)) <= files


def test_world_is_one_process_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    world = World.from_environment()
    assert world == World(rank=0, size=1, local_rank=0)
    assert world.is_main


def test_world_reads_what_torchrun_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "9")
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_RANK", "1")
    world = World.from_environment()
    assert world == World(rank=9, size=16, local_rank=1)
    assert not world.is_main


def test_a_single_process_needs_no_process_group() -> None:
    world = World()
    world.join("cpu")
    world.barrier()
    assert world.broadcast("value") == "value"
    assert world.broadcast([]) == []
    world.leave()


def test_processes_meet_those_that_are_here_and_no_dead_ones() -> None:
    store = HashStore()
    seen: set[str] = set()
    for size in (2, 4, 3, 2):  # As torchrun starts them again, in the store of those before.
        store.set("met/1", "from the dead")
        with ThreadPoolExecutor(size) as pool:
            names = set(pool.map(lambda rank, size=size: met_in(store, rank, size), range(size)))
        assert len(names) == 1
        assert not names & seen
        seen |= names
