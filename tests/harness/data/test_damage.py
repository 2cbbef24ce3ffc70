"""Files with checksums: as they were written, or refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data.digests import (
    Damaged,
    read_arrays,
    read_table,
    sealed,
    unsealed,
    write_table,
)
from tests.damage import flips

TABLE = pa.table(
    {
        "id": [f"image {i}" for i in range(6)],
        "psnr": np.linspace(20, 30, 6),
        "features": pa.array(
            list(np.arange(24, dtype=np.float32).reshape(6, 4)), pa.list_(pa.float32(), 4)
        ),
    }
)
RECORD = {"value": 28.125, "n": 3, "provenance": {"torch": "2.6", "seconds": {"total": 0.1}}}


def test_a_table_is_read_by_us_and_by_others(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_table(TABLE, path)
    assert read_table(path).equals(TABLE)
    assert read_table(path, ["psnr"]).equals(TABLE.select(["psnr"]))
    assert pq.read_table(path).equals(TABLE)
    assert list(pd.read_parquet(path)["psnr"]) == TABLE["psnr"].to_pylist()


def test_a_table_without_checksum_is_read(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "older.parquet")
    assert read_table(tmp_path / "older.parquet").equals(TABLE)


def test_a_flipped_bit_of_a_table_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_table(TABLE, path)
    found = 0
    for _ in flips(path):
        try:
            assert read_table(path).equals(TABLE)
        except Damaged:
            found += 1
    assert found > 900


@pytest.mark.parametrize("kept", [0, 3, 8, 100, -1])
def test_a_cut_table_is_damaged(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "part.parquet"
    write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Damaged, match=r"part\.parquet is damaged"):
        read_table(path)


def test_a_flipped_bit_of_arrays_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    rows = np.arange(48, dtype=np.float32).reshape(4, 12)
    np.savez(path, rows=rows, count=np.array(4))
    for _ in flips(path):
        try:
            arrays = read_arrays(path)
        except Damaged:
            continue
        assert set(arrays) == {"rows", "count"}
        assert arrays["rows"].tobytes() == rows.tobytes()
        assert (arrays["rows"].dtype, arrays["rows"].shape) == (np.float32, (4, 12))
        assert arrays["count"] == 4


@pytest.mark.parametrize("content", [[], None, 1, "text"])
def test_what_is_no_record_is_damaged(content: object, tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"run\.json is damaged \(it holds a"):
        unsealed(content, tmp_path / "run.json")


def test_missing_arrays_are_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")


def test_a_record_comes_back_from_its_text(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert unsealed(json.loads(json.dumps(sealed(RECORD))), path) == RECORD
    assert unsealed(copy.deepcopy(RECORD), path) == RECORD, "older ones have no digest"


def test_a_flipped_bit_of_a_record_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(sealed(RECORD)), encoding="utf-8")
    for _ in flips(path):
        try:
            content = json.loads(path.read_bytes())
        except ValueError:
            continue
        try:
            found = unsealed(content, path)
        except Damaged:
            continue
        # A damaged name of the digest leaves a field too many, and all others as they were.
        assert found["value"] == RECORD["value"]
        assert found["n"] == RECORD["n"]
