"""Rows of a block as they are stored: what came out of the model, and what an extractor saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from harness.interfaces import Code, Columns
from harness.interfaces.types import Status

RESERVED = ("id", "status", "error")
"""Columns of every part; an extractor's own have other names."""


def output_table(
    ids: Sequence[str],
    statuses: Sequence[str],
    errors: Sequence[str],
    codes: Sequence[Code | None],
    seconds: Sequence[float],
) -> pa.Table:
    """Outputs, a row a sample; failed ones have no code."""
    return pa.table(
        {
            "id": list(ids),
            "status": list(statuses),
            "error": list(errors),
            "payload": pa.array([code and code.payload for code in codes], pa.binary()),
            "height": pa.array([code and code.height for code in codes], pa.int32()),
            "width": pa.array([code and code.width for code in codes], pa.int32()),
            "seconds": list(seconds),
        }
    )


def observation_table(
    ids: Sequence[str],
    statuses: Sequence[str],
    errors: Sequence[str],
    columns: Columns,
    places: Sequence[int] | np.ndarray,
) -> pa.Table:
    """Observations, a row a sample; failed ones have nulls for numbers, and keep their texts.

    Args:
        ids: Of all samples.
        statuses: Of all samples.
        errors: Of all samples; empty where the status is ok.
        columns: Cells of the samples at `places`.
        places: Where those samples lie among all.
    """
    data: dict[str, Any] = {"id": list(ids), "status": list(statuses), "error": list(errors)}
    for name, values in columns.items():
        cells: list[Any] = [None] * len(ids)
        for place, value in zip(places, values, strict=True):
            if statuses[place] == Status.OK or values.dtype == object:
                cells[place] = value
        if values.dtype == object:
            data[name] = pa.array(cells, pa.string())
        elif values.ndim == 2:
            kind = pa.from_numpy_dtype(values.dtype)
            data[name] = pa.array(cells, pa.list_(kind, values.shape[1]))
        else:
            data[name] = pa.array(cells, pa.from_numpy_dtype(values.dtype))
    return pa.table(data)
