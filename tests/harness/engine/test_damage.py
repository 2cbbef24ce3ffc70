"""A run directory with one bit flipped: the same result, or a refusal, and never another number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.data.manifest import CPU_BLOCK
from harness.engine.runner import rescore
from harness.engine.score import AGAIN
from harness.interfaces.errors import UserError
from reports.records import load_record
from tests.damage import flips
from tests.harness.engine.test_runner import run
from tests.harness.toys import Control, request, result_of, rows_of

PLACES = 6
STORED = ("outputs", "observations/pixels")


def scored(root: Path) -> dict[str, Any] | None:
    try:
        return result_of(rescore(root)[0])
    except UserError:
        return None


@pytest.mark.parametrize("stage", STORED)
def test_a_damaged_part_is_missing_until_it_is_made_again(
    stage: str, tiles: Path, control: Control
) -> None:
    first = run(request(tiles))
    rows = rows_of(first.root)
    part = sorted((first.root / stage).iterdir())[1]
    for _ in flips(part, PLACES):
        control.forget()
        record, merged = rescore(first.root)
        assert all(error.endswith(AGAIN) for _, _, error in merged.failed)
        if result_of(record) != result_of(first.record):
            assert record.failures == {"missing": CPU_BLOCK}
            assert record.value("psnr") is None
        assert result_of(run(request(tiles)).record) == result_of(first.record)
        assert rows_of(first.root).equals(rows)
        assert control.encoded in ({0, CPU_BLOCK} if stage == "outputs" else {0})


def test_a_damaged_run_file_is_refused_or_read_as_it_was(tiles: Path, control: Control) -> None:
    first = run(request(tiles))
    for _ in flips(first.root / "run.json", 8 * PLACES):
        assert scored(first.root) in (None, result_of(first.record))


def test_a_damaged_record_is_refused_or_read_as_it_was(tiles: Path, control: Control) -> None:
    first = run(request(tiles))
    for _ in flips(first.root / "record.json", 8 * PLACES):
        try:
            found = load_record(first.root)
        except UserError:
            continue
        assert result_of(found.record) == result_of(first.record)


def test_a_damaged_picture_is_left_out_of_the_grid(tiles: Path, control: Control) -> None:
    first = run(request(tiles))
    picture = sorted((first.root / "pictures").iterdir())[0]
    for _ in flips(picture, PLACES):
        assert result_of(run(request(tiles)).record) == result_of(first.record)
