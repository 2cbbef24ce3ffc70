"""No number depends on batch size, number of processes, lanes or container: bit for bit."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.data.manifest import CPU_BLOCK
from harness.data.store import Store
from harness.engine.plan import Plan, make_plan
from harness.engine.score import score, write_result
from harness.engine.work import Worker
from harness.engine.world import World
from harness.interfaces.types import ResultRecord
from tests.harness.toys import TILES, Control, request, result_of, rows_of


def carry_out(
    plan: Plan, world_size: int = 1, lanes: int = 1, backwards: bool = False
) -> ResultRecord:
    """Let each process do its share, one after the other, then score as the main one does."""
    store = Store(plan.root)
    ranks = range(world_size)
    for rank in reversed(ranks) if backwards else ranks:
        Worker(plan, store, World(rank, world_size), lanes).run(lambda _: None)
    record, merged = score(plan.file, store, {})
    write_result(store, record, merged)
    return record


def planned(tiles: Path, name: str, batch_size: int = 1, **changes: Any) -> Plan:
    """A plan in a run directory of its own, with batches that a CPU run would not take."""
    made = make_plan(request(tiles, out=tiles.parent / name, **changes), World())
    return dataclasses.replace(made, batch_size=batch_size)


@pytest.fixture
def expected(tiles: Path, control: Control) -> tuple[dict[str, Any], pd.DataFrame]:
    """Result and rows of one process, one lane, one image at a time."""
    plan = planned(tiles, "expected")
    record = carry_out(plan)
    assert record.n_failed == 0
    return result_of(record), rows_of(plan.root)


def assert_same(plan: Plan, record: ResultRecord, expected: tuple[dict[str, Any], Any]) -> None:
    assert result_of(record) == expected[0]
    pd.testing.assert_frame_equal(rows_of(plan.root), expected[1], check_exact=True)


@pytest.mark.parametrize("batch_size", [2, 3, 4])
def test_batch_size(batch_size: int, tiles: Path, expected: Any) -> None:
    plan = planned(tiles, "batched", batch_size)
    assert_same(plan, carry_out(plan), expected)


@pytest.mark.parametrize(
    ("world_size", "backwards"), [(1, False), (2, False), (3, False), (3, True), (7, True)]
)
def test_number_of_processes(
    world_size: int, backwards: bool, tiles: Path, control: Control, expected: Any
) -> None:
    control.forget()
    plan = planned(tiles, "shared")
    record = carry_out(plan, world_size, backwards=backwards)
    assert_same(plan, record, expected)
    assert control.encoded == TILES


@pytest.mark.parametrize("size", [2 * CPU_BLOCK, 384])
def test_blocks_of_several_steps(size: int, tiles: Path, control: Control, expected: Any) -> None:
    control.forget()
    plan = planned(tiles, "larger")
    plan = dataclasses.replace(plan, file=plan.file.model_copy(update={"block_size": size}))
    assert_same(plan, carry_out(plan, lanes=2), expected)
    assert (control.loaded, control.encoded) == (1, TILES)
    for part in (plan.root / "observations" / "pixels").iterdir():
        part.unlink()
    assert_same(plan, carry_out(plan), expected)  # From the stored outputs, a step at a time.
    assert control.encoded == TILES


def test_a_run_goes_on_with_the_blocks_that_it_has(
    tiles: Path, control: Control, expected: Any
) -> None:
    machine = {"machine": {"device": "cpu"}}
    first = make_plan(request(tiles), World())
    changes = {"block_size": 3, "provenance": machine}
    older = dataclasses.replace(first, file=first.file.model_copy(update=changes))
    Store(older.root).write_record("run.json", older.file)
    Worker(older, Store(older.root), World()).run(lambda _: None)
    control.forget()
    again = make_plan(request(tiles), World())
    assert again.file.block_size == 3
    assert_same(again, carry_out(again), expected)
    assert control.encoded == 0


@pytest.mark.parametrize("lanes", [2, 4])
def test_lanes(lanes: int, tiles: Path, control: Control, expected: Any) -> None:
    control.forget()
    plan = planned(tiles, "lanes")
    assert_same(plan, carry_out(plan, lanes=lanes), expected)
    assert (control.loaded, control.encoded) == (1, TILES)


def test_all_at_once(tiles: Path, expected: Any) -> None:
    plan = planned(tiles, "mixed", batch_size=3)
    assert_same(plan, carry_out(plan, world_size=2, lanes=2), expected)


def test_number_of_processes_changes_between_two_attempts(
    tiles: Path, control: Control, expected: Any
) -> None:
    plan, store = planned(tiles, "changed"), Store(planned(tiles, "changed").root)
    Worker(plan, store, World(1, 3)).run(lambda _: None)
    control.forget()
    assert_same(plan, carry_out(plan, world_size=2), expected)
    assert control.encoded == TILES - 4


def test_parts_are_named_alike_whoever_made_them(tiles: Path, expected: Any) -> None:
    plan = planned(tiles, "shared")
    carry_out(plan, world_size=3)
    (first,) = (tiles.parent / "expected").iterdir()
    names = [
        sorted(str(path.relative_to(root)) for path in root.rglob("*.parquet"))
        for root in (first, plan.root)
    ]
    assert names[0] == names[1]


def test_decoder_sees_one_seed_a_sample_and_nothing_else(tiles: Path, control: Control) -> None:
    plan = planned(tiles, "seeds")
    carry_out(plan, world_size=3)
    assert sorted(control.seeds) == sorted(plan.file.seeds(plan.file.samples))
    assert len(set(control.seeds)) == TILES


def test_another_run_seed_gives_other_noise(tiles: Path, expected: Any) -> None:
    plan = planned(tiles, "reseeded", seed=1)
    carry_out(plan)
    rows = rows_of(plan.root)
    assert (rows["psnr"] != expected[1]["psnr"]).all()
    assert rows["psnr"].mean() == pytest.approx(expected[1]["psnr"].mean(), abs=0.5)


def test_sample_has_the_same_value_in_a_smaller_choice(tiles: Path, expected: Any) -> None:
    plan = planned(tiles, "limited", limit=5)
    carry_out(plan)
    rows = rows_of(plan.root)
    assert len(rows) == 5
    pd.testing.assert_frame_equal(rows, expected[1].loc[rows.index], check_exact=True)


def test_zipped_data_gives_the_same_result(tiles: Path, expected: Any) -> None:
    archive = tiles.parent / "tiles.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in tiles.iterdir():
            file.write(path, path.name)
    plan = planned(tiles, "zipped", data=str(archive))
    record = carry_out(plan)
    assert_same(plan, record.model_copy(update={"dataset": expected[0]["dataset"]}), expected)


def test_failures_fail_alike_whatever_the_batch(tiles: Path, control: Control) -> None:
    from tests.harness.toys import fail_on_magenta, paint

    paint(tiles / "tile_05.png")
    control.before_encode = fail_on_magenta
    results = []
    for batch_size in (1, 4):
        plan = planned(tiles, f"batch-{batch_size}", batch_size)
        results.append((result_of(carry_out(plan)), rows_of(plan.root)))
    assert results[0][0] == results[1][0]
    assert results[0][0]["failures"] == {"model_error": 1}
    pd.testing.assert_frame_equal(results[0][1], results[1][1], check_exact=True)
