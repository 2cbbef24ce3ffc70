"""A run that is cut anywhere and started again ends as if it never was, without repeating work."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console
from torch import Tensor

from harness.data.manifest import CPU_BLOCK
from harness.data.store import Store
from harness.engine import runner
from harness.engine.plan import make_plan
from harness.engine.progress import Progress
from harness.engine.work import Worker
from harness.engine.world import World
from harness.interfaces.errors import UserError
from harness.interfaces.types import ResultRecord
from tests.harness.toys import TILES, Control, request, result_of


def run(tiles: Path, **changes: Any) -> ResultRecord:
    finished = runner.run(request(tiles, **changes), World(), Progress(Console(quiet=True)))
    assert finished is not None
    return finished.record


@pytest.fixture
def expected(tiles: Path, control: Control) -> dict[str, Any]:
    """The result of a run that nothing disturbed."""
    record = run(tiles, out=tiles.parent / "undisturbed")
    control.forget()
    return result_of(record)


def interrupt_at(call: int, error: type[BaseException]) -> Callable[[Tensor], None]:
    calls = 0

    def hook(_: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error

    return hook


def samples_left(tiles: Path) -> int:
    """Samples of blocks that are not finished, by a look at the files."""
    plan = make_plan(request(tiles), World())
    return sum(len(block) for _, block in Worker(plan, Store(plan.root), World()).missing())


def outputs_left(tiles: Path) -> int:
    """Samples of blocks whose outputs are not there; others may still have to be observed."""
    plan = make_plan(request(tiles), World())
    worker = Worker(plan, Store(plan.root), World())
    key = plan.file.output_key
    return sum(
        len(block)
        for at, block in worker.share
        if not worker._settled("outputs", at, key(block), len(block))
    )


@pytest.mark.parametrize("call", [1, 2, 5, 9, TILES])
def test_interrupted_by_the_user(
    call: int, tiles: Path, control: Control, expected: dict[str, Any]
) -> None:
    control.before_encode = interrupt_at(call, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tiles)
    left = samples_left(tiles)
    assert left >= 1
    control.forget()
    assert result_of(run(tiles)) == expected
    assert control.encoded == left


def test_one_lane_finishes_every_block_before_the_cut(
    tiles: Path, control: Control, expected: dict[str, Any]
) -> None:
    plan = make_plan(request(tiles), World())
    control.before_encode = interrupt_at(2 * CPU_BLOCK + 1, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        Worker(plan, Store(plan.root), World(), lanes=1).run(lambda _: None)
    assert samples_left(tiles) == TILES - 2 * CPU_BLOCK
    control.forget()
    assert result_of(run(tiles)) == expected
    assert control.encoded == TILES - 2 * CPU_BLOCK


@pytest.mark.parametrize("write", [1, 2, 5, 8])
def test_cut_at_any_write_of_a_part(
    write: int,
    tiles: Path,
    control: Control,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writes = 0
    whole_write = Store.write_part

    def cut_write(store: Store, stage: str, block: int, key: str, table: pa.Table) -> None:
        nonlocal writes
        writes += 1
        if writes >= write:
            raise KeyboardInterrupt
        whole_write(store, stage, block, key, table)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_part", cut_write)
        with pytest.raises(KeyboardInterrupt):
            run(tiles)
    left, without_outputs = samples_left(tiles), outputs_left(tiles)
    control.forget()
    assert result_of(run(tiles)) == expected
    assert control.encoded == without_outputs
    assert control.decoded == left


def test_disk_full_in_the_middle(
    tiles: Path, control: Control, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    whole_write = Store.write

    def full_disk(store: Store, name: str, write: Callable[[Path], None]) -> Path:
        nonlocal written
        written += 1

        def half(path: Path) -> None:
            write(path)
            path.write_bytes(path.read_bytes()[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        return whole_write(store, name, half if written > 9 else write)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", full_disk)
        with pytest.raises(UserError, match="disk full"):
            run(tiles)
    left, without_outputs = samples_left(tiles), outputs_left(tiles)
    assert 0 < left <= TILES
    control.forget()
    assert result_of(run(tiles)) == expected
    assert control.encoded == without_outputs
    assert control.decoded == left


def test_what_a_killed_process_left_half_written_is_not_believed(
    tiles: Path, control: Control, expected: dict[str, Any]
) -> None:
    plan = make_plan(request(tiles), World())
    run(tiles)
    parts = sorted((plan.root / "outputs").iterdir())
    parts[0].rename(parts[0].with_name(".tmp-0123456789.parquet"))
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    parts[2].write_bytes(b"")
    (plan.root / "record.json").write_text('{"schema_version": "1.')
    control.forget()
    assert result_of(run(tiles)) == expected
    assert control.encoded == 3 * CPU_BLOCK
    assert not list(plan.root.rglob(".tmp-*"))


def test_cut_twice_with_other_processes_in_between(
    tiles: Path, control: Control, expected: dict[str, Any]
) -> None:
    plan = make_plan(request(tiles), World())
    store = Store(plan.root)
    for rank, call in ((0, 5), (1, 2)):
        control.before_encode = interrupt_at(call, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            Worker(plan, store, World(rank, 2)).run(lambda _: None)
    left = samples_left(tiles)
    assert left == TILES - CPU_BLOCK
    control.forget()
    assert result_of(run(tiles)) == expected
    assert control.encoded == left


def test_model_that_crashes_hard_leaves_finished_blocks(
    tiles: Path, control: Control, expected: dict[str, Any]
) -> None:
    control.before_encode = interrupt_at(TILES - 1, MemoryErrorOfTheSystem)
    with pytest.raises(MemoryErrorOfTheSystem):
        run(tiles)
    left = samples_left(tiles)
    assert left < TILES
    control.forget()
    assert result_of(run(tiles)) == expected
    assert control.encoded == left


class MemoryErrorOfTheSystem(BaseException):
    """Stands for what no handler may swallow."""
