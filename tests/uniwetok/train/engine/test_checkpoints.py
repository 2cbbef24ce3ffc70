from __future__ import annotations

import shutil
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.damage import flips
from uniwetok.train import TrainingError
from uniwetok.train.engine import checkpoints as module
from uniwetok.train.engine.checkpoints import Checkpoints, copied


def test_the_last_two_are_kept_and_read_back(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.steps() == []
    for step in (1, 2, 10):
        checkpoints.save(step, {"step": step, "w": torch.full((2,), float(step))})
    assert checkpoints.steps() == [2, 10]
    found = checkpoints.load_last(pytest.fail)
    assert found is not None
    step, state = found
    assert step == state["step"] == 10
    assert torch.equal(state["w"], torch.full((2,), 10.0))
    assert [path.suffix for path in (tmp_path / "c").iterdir()] == [".pt", ".pt"]


def test_what_a_killed_run_left_is_no_checkpoint(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1})
    (tmp_path / "step-00000002.pt.partial").write_bytes(b"half")
    assert checkpoints.steps() == [1]


def test_a_damaged_file_is_named(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(3, {"step": 3})
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(TrainingError, match=r"step-00000003\.pt.*remove it"):
        checkpoints.load_last(pytest.fail)


def test_other_names_are_no_checkpoints(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, {"step": 3})
    for name in ("step-latest.pt", "step-.pt", "step-6.pt", "step-00000007.txt", "step-²"):
        (tmp_path / name).write_bytes(b"")
    assert checkpoints.steps() == [3]


def test_a_checkpoint_of_another_step_counts_as_damaged(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(4, {"step": 4})
    shutil.copy(checkpoints.path(4), tmp_path / "step-00000006.pt")
    told: list[str] = []
    found = checkpoints.load_last(told.append)
    assert found is not None
    assert found[0] == 4
    assert "step-00000006.pt: no checkpoint of ours (it is of step 4)" in told[0]
    checkpoints.path(4).unlink()
    with pytest.raises(TrainingError, match=r"it is of step 4\); remove it"):
        checkpoints.load_last(pytest.fail)


def test_a_file_with_code_is_refused(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    torch.save({"step": Path("x")}, checkpoints.path(1))
    with pytest.raises(TrainingError, match="no checkpoint of ours"):
        checkpoints.load_last(pytest.fail)


def test_a_flipped_bit_takes_the_checkpoint_before_or_changes_nothing(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1, "w": torch.zeros(8)})
    weights = torch.arange(8.0)
    path = checkpoints.save(2, {"step": 2, "w": weights})
    told: list[str] = []
    for place in flips(path, 300):
        told.clear()
        found = checkpoints.load_last(told.append)
        assert found is not None, place
        step, state = found
        if step == 2:
            assert torch.equal(state["w"], weights), place
            assert not told
        else:
            assert str(path) in told[0]
            assert torch.equal(state["w"], torch.zeros(8))


def test_a_damaged_checkpoint_takes_no_place(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20):
        checkpoints.save(step, {"step": step})
    checkpoints.path(20).write_bytes(b"damaged")
    checkpoints.set_aside(after=10)
    checkpoints.save(15, {"step": 15})
    assert checkpoints.steps() == [10, 15]
    assert (tmp_path / "step-00000020.damaged").read_bytes() == b"damaged"


def test_too_little_disk_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10**9, 0, 2 * 10**9))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.require_space(10**9 // 2)
    with pytest.raises(TrainingError, match=r"need 3\.00 GB more, 2\.00 GB are free"):
        checkpoints.require_space(10**9)


def test_a_failed_write_keeps_the_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.torch, "save", fail)
    with pytest.raises(TrainingError, match="the disk is full"):
        checkpoints.save(2, {"step": 2})
    assert checkpoints.steps() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]


def test_as_many_are_kept_as_asked_for(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, keep_last=3, keep_every=4)
    for step in range(2, 21, 2):
        checkpoints.save(step, {"step": step})
    assert checkpoints.steps() == [4, 8, 12, 16, 18, 20]


def test_writing_in_the_background_keeps_what_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    begin = threading.Event()
    save = torch.save

    def slow(*given: Any) -> None:
        begin.wait(30)
        save(*given)

    monkeypatch.setattr(module.torch, "save", slow)
    checkpoints = Checkpoints(tmp_path)
    weight = torch.zeros(3)
    checkpoints.save_later(1, copied({"step": 1, "w": [weight]}))
    weight.fill_(7.0)
    assert checkpoints.steps() == []
    begin.set()
    checkpoints.finish()
    found = checkpoints.load_last(pytest.fail)
    assert found is not None
    assert torch.equal(found[1]["w"][0], torch.zeros(3))
    checkpoints.close()


def test_a_write_that_failed_in_the_background_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.torch, "save", fail)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_later(1, {"step": 1})
    with pytest.raises(TrainingError, match="the disk is full"):
        checkpoints.finish()
    checkpoints.finish()
