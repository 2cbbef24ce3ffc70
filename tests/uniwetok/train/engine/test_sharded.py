"""Checkpoints of which each process writes its part: whole or not there, and read by any number."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from tests.damage import flips
from uniwetok.train import TrainingError
from uniwetok.train.engine import sharded as module
from uniwetok.train.engine.checkpoints import Checkpoints


def give_state(step: int) -> dict[str, Any]:
    """A weight in shards, of which some are longer, a whole one, and what is no tensor."""
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    weight = distribute_tensor(torch.arange(15.0).view(5, 3) + step, mesh, [Shard(0)])
    return {"step": step, "net": {"w": weight, "b": torch.full((2,), float(step))}, "groups": [{}]}


def plain() -> dict[str, Any]:
    return {"net": {"w": torch.zeros(5, 3), "b": torch.zeros(2)}}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Checkpoints]:
    """Checkpoints of a group of one process."""
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    checkpoints = Checkpoints(tmp_path / "c", group=module.open_group())
    yield checkpoints
    checkpoints.close()
    distributed.destroy_process_group()


def load(checkpoints: Checkpoints) -> dict[str, Any]:
    found = checkpoints.load_last(pytest.fail, plain)
    assert found is not None
    step, state = found
    assert step == state["step"]
    return state


def write_as_one_of_two(rank: int, folder: Path) -> None:
    """Three checkpoints, of which the last is read again; this process is 0, a child 1."""
    store = distributed.FileStore(str(folder / "store"), 2)
    patience = timedelta(minutes=5)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=patience)
    checkpoints = Checkpoints(folder / "c", group=module.open_group())
    for step in (1, 2, 3):
        checkpoints.save_later(step, give_state(step))
    checkpoints.finish()
    found = checkpoints.load_last(print, lambda: give_state(0))
    assert found is not None
    assert torch.equal(found[1]["net"]["w"].full_tensor(), torch.arange(15.0).view(5, 3) + 3)
    checkpoints.close()
    distributed.destroy_process_group()


def test_one_process_reads_what_two_wrote(tmp_path: Path) -> None:
    other = get_context("spawn").Process(target=write_as_one_of_two, args=(1, tmp_path))
    other.start()
    write_as_one_of_two(0, tmp_path)
    other.join(60)
    assert other.exitcode == 0
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.steps() == [2, 3]
    state = load(checkpoints)
    assert torch.equal(state["net"]["w"], torch.arange(15.0).view(5, 3) + 3)
    assert torch.equal(state["net"]["b"], torch.full((2,), 3.0))
    assert state["groups"] == [{}]
    names = sorted(path.name for path in checkpoints.path(3).iterdir())
    assert names == [".metadata", "__0_0.distcp", "__1_0.distcp", "checksums.json", "others.pt"]


def test_it_is_read_into_shards_and_into_whole_tensors(alone: Checkpoints) -> None:
    alone.save(7, give_state(7))
    found = alone.load_last(pytest.fail, lambda: give_state(0))
    assert found is not None
    weight = found[1]["net"]["w"]
    assert isinstance(weight, DTensor)
    assert torch.equal(weight.full_tensor(), load(alone)["net"]["w"])
    assert load(alone)["step"] == 7


def test_a_flipped_bit_takes_the_checkpoint_before(alone: Checkpoints) -> None:
    for step in (1, 2):
        alone.save(step, give_state(step))
    for file in alone.path(2).iterdir():
        for place in flips(file, 20):
            told: list[str] = []
            found = alone.load_last(told.append, plain)
            assert found is not None, (file, place)
            step, state = found
            # A checksum's file has bits, such as blanks, that say nothing.
            assert step == 1 or file.name == "checksums.json"
            assert bool(told) == (step == 1)
            assert torch.equal(state["net"]["w"], torch.arange(15.0).view(5, 3) + step)
            assert state["step"] == step
    alone.set_aside(after=1)
    assert alone.steps() == [1]
    assert (alone.path(1).parent / "step-00000002.damaged").is_dir()


def test_a_missing_file_is_named(alone: Checkpoints) -> None:
    path = alone.save(1, give_state(1))
    (path / "__0_0.distcp").unlink()
    with pytest.raises(TrainingError, match=r"step-00000001: no .* checksum of __0_0\.distcp"):
        alone.load_last(pytest.fail, plain)


class Killed(BaseException):
    """Stands for a process that ends while it writes."""


def test_a_kill_while_writing_keeps_the_checkpoint_before(
    alone: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    alone.save(1, give_state(1))
    with monkeypatch.context() as killed:
        killed.setattr(module, "write_json", die)  # All else is written by then.
        with pytest.raises(Killed):
            alone.save(2, give_state(2))
    assert (alone.path(1).parent / "step-00000002.partial" / ".metadata").is_file()
    assert alone.steps() == [1]
    assert load(alone)["step"] == 1
    alone.save(3, give_state(3))
    assert alone.steps() == [1, 3]
    assert not list(alone.path(1).parent.glob("*.partial"))


def test_a_full_disk_is_said_and_keeps_the_earlier_ones(
    alone: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    alone.save(1, give_state(1))
    monkeypatch.setattr(FileSystemWriter, "write_data", fail)
    with pytest.raises(TrainingError, match=r"step-00000002: .*the disk is full"):
        alone.save(2, give_state(2))
    assert alone.steps() == [1]


class Evil:
    """Pickles as a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.getcwd, ()


def test_code_in_the_metadata_is_refused(alone: Checkpoints) -> None:
    path = alone.save(1, give_state(1))
    (path / ".metadata").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(TrainingError, match="checksum"):
        alone.load_last(pytest.fail, plain)
    sums = {file.name: module._crc(file) for file in path.iterdir() if file.suffix != ".json"}
    module.write_json(path / "checksums.json", sums)
    with pytest.raises(TrainingError, match=r"holds .*getcwd, which is refused"):
        alone.load_last(pytest.fail, plain)


def test_older_ones_go_and_files_may_be_among_them(alone: Checkpoints) -> None:
    folder = alone.path(1).parent
    Checkpoints(folder).save(1, {"step": 1})
    for step in (2, 3):
        alone.save(step, give_state(step))
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]
    Checkpoints(folder).save(4, {"step": 4})
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000003", "step-00000004.pt"]
