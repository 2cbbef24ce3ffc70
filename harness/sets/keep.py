"""Results of `uwt-eval metrics` in directories like those of runs, for reports and comparisons."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from harness.data.digests import Damaged, read_record, read_table
from harness.data.store import Store
from harness.interfaces.errors import UserError, first_line, warn
from harness.interfaces.types import ResultRecord

_RECORD = "record.json"
_ROWS = "samples.parquet"


def keep_result(record: ResultRecord, rows: pd.DataFrame, out: Path) -> ResultRecord:
    """Write a result into its directory below `out`; the metrics that it has there stay.

    Args:
        record: The result.
        rows: A row an image: id, status, error, and what was observed of it.
        out: Where directories of results lie.

    Returns:
        The record with the metrics that were there before.
    """
    store = Store(out / record.run_id)
    with store.locked():
        if (earlier := _record(store.root / _RECORD)) is not None:
            metrics = {**earlier.metrics, **record.metrics}
            record = record.model_copy(update={"metrics": metrics})
            rows = _with_columns(rows, store.root / _ROWS)
        store.write_table(_ROWS, pa.Table.from_pandas(rows, preserve_index=False))
        store.write_record(_RECORD, record)
    return record


def _record(path: Path) -> ResultRecord | None:
    """What was kept before; None where there is nothing, or it is damaged, which is said."""
    if not path.is_file():
        return None
    try:
        return ResultRecord.model_validate(read_record(path))
    except (UserError, ValueError) as error:
        warn(f"the metrics that {path} held are not known: {first_line(error)}")
        return None


def _with_columns(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The rows with what was observed before of the same images."""
    try:
        earlier = read_table(path).to_pandas()
    except (FileNotFoundError, Damaged):
        return rows
    added = [name for name in earlier.columns if name not in rows.columns]
    return rows.merge(earlier[["id", *added]], on="id", how="left") if added else rows
