"""Where memory ends, smaller batches go on, and the numbers stay."""

from __future__ import annotations

import dataclasses
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from harness.engine import runner
from harness.engine.items import Batches, Item
from harness.engine.plan import make_plan
from harness.engine.progress import Progress
from harness.engine.world import World
from harness.interfaces.errors import UserError
from harness.interfaces.types import Sample
from tests.harness.toys import Control, ToyTokenizer, request


def batches(size: int) -> Batches:
    return Batches(size, nullcontext(), threading.Event())


def items(count: int) -> list[Item]:
    return [Item(Sample(id=f"{i}.png", index=i, sha256=""), i) for i in range(count)]


def test_batches_are_halved_until_they_fit_and_stay_so(capsys: pytest.CaptureFixture[str]) -> None:
    tried: list[int] = []
    done: list[int] = []

    def step(batch: list[Item]) -> None:
        tried.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(item.seed for item in batch)

    worker = batches(16)
    worker.run([items(20), items(5)], step)
    assert done == [*range(20), *range(5)]
    assert tried[:4] == [16, 8, 4, 2]
    assert worker.size == 2
    assert max(tried[tried.index(2) :]) <= 8, "what was cut before is cut again"
    assert tried[-3:] == [2, 2, 1]
    assert "going on with 2" in capsys.readouterr().err


def test_batches_grow_until_memory_ends_or_the_most_is_reached(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried: list[int] = []

    def step(batch: list[Item]) -> None:
        tried.append(len(batch))
        if len(batch) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")

    worker = Batches(8, nullcontext(), threading.Event(), most=512)
    worker.run([items(200)], step)
    assert tried == [8, 16, 32, 64, 32, 32, 32, 32, 16]
    assert (worker.size, worker.too_many) == (32, 64)
    assert capsys.readouterr().err == "", "where the end of memory is looked for it is no surprise"
    small = Batches(8, nullcontext(), threading.Event(), most=20)
    tried.clear()
    small.run([items(60)], step)
    assert tried == [8, 16, 20, 16]
    assert (small.size, small.too_many) == (20, None)


def test_a_single_sample_that_does_not_fit_ends_the_run() -> None:
    def step(batch: list[Item]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"at a single sample, '0\.png': free the GPU"):
        batches(4).run([items(4)], step)


def test_what_fails_otherwise_is_tried_one_by_one() -> None:
    def step(batch: list[Item]) -> None:
        if any(item.seed == 2 for item in batch):
            raise ArithmeticError("no")

    group = items(4)
    worker = batches(4)
    worker.run([group], step)
    assert [item.ok for item in group] == [True, True, False, True]
    assert worker.size == 4


def test_a_run_that_ran_out_of_memory_gives_the_same_record(
    tiles: Path, control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encode = ToyTokenizer.encode
    records = []
    for out, most in (("one", 99), ("two", 1)):

        def limited(self: ToyTokenizer, images: torch.Tensor, most: int = most) -> Any:
            if len(images) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return encode(self, images)

        def planned(*given: Any) -> Any:
            return dataclasses.replace(make_plan(*given), batch_size=4)

        monkeypatch.setattr(ToyTokenizer, "encode", limited)
        monkeypatch.setattr(runner, "make_plan", planned)
        asked = request(tiles, metrics=("psnr", "ssim"), out=tmp_path / out)
        finished = runner.run(asked, World(), Progress(Console(), quiet=True))
        assert finished is not None
        records.append(finished.record)
    assert records[0].metrics == records[1].metrics
    assert "memory" not in records[0].provenance
    assert records[1].provenance["memory"] == ("out of GPU memory at batches of 4, went on with 1")
    assert records[1].provenance["batch_size"] == 1


def test_the_record_says_what_auto_found(
    tiles: Path, control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(*given: Any) -> Any:
        return dataclasses.replace(make_plan(*given), batch_size=1, most_batch=4)

    monkeypatch.setattr(runner, "make_plan", planned)
    asked = request(tiles, metrics=("psnr",), out=tmp_path, batch_size="auto")
    finished = runner.run(asked, World(), Progress(Console(), quiet=True))
    assert finished is not None
    size = finished.record.provenance["batch_size"]
    said = f"--batch-size auto: batches of {size}, at most 4 were tried"
    assert finished.record.provenance["memory"] == said
    assert size > 1
