"""A sample on its way through the stages of a run, and a block of samples as stored rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from harness.interfaces import Code, Columns
from harness.interfaces.errors import SampleFailure
from harness.interfaces.types import Sample, Status

RESERVED = ("id", "status", "error")
"""Columns of every stored table; an extractor's own have other names."""


@dataclass
class Item:
    """One sample on its way through a block."""

    sample: Sample
    seed: int
    status: Status = Status.OK
    error: str = ""
    input: Any = None
    code: Code | None = None
    rendered: Any = None
    seconds: float = 0.0

    def fail(self, error: Exception) -> None:
        """Record the first failure; later stages leave the sample out."""
        if isinstance(error, SampleFailure):
            self.status, self.error = error.status, first_written(str(error))
        else:
            self.status = Status.MODEL_ERROR
            self.error = first_written(f"{type(error).__name__}: {error}")

    @property
    def ok(self) -> bool:
        """Whether no stage has failed so far."""
        return self.status is Status.OK


def output_rows(items: Sequence[Item]) -> pa.Table:
    """A block's outputs as they are stored."""
    return output_table(
        [item.sample.id for item in items],
        [item.status.value for item in items],
        [item.error for item in items],
        [item.code if item.ok else None for item in items],
        [item.seconds for item in items],
    )


def observation_rows(items: Sequence[Item], columns: Columns) -> pa.Table:
    """Rows of the samples that were observed; the others have nulls."""
    seen = np.flatnonzero([item.ok for item in items])
    statuses = [item.status.value for item in items]
    errors = [item.error for item in items]
    for row, place in enumerate(seen):
        statuses[place] = str(columns["status"][row]) if "status" in columns else Status.OK.value
        errors[place] = first_written(str(columns["error"][row])) if "error" in columns else ""
    return observation_table(
        [item.sample.id for item in items],
        statuses,
        errors,
        {name: values for name, values in columns.items() if name not in RESERVED},
        seen,
    )


def first_written(text: str) -> str:
    """The first line of a text that has any."""
    return next(iter(text.strip().splitlines()), "")


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
            "bits": pa.array([code and code.bits for code in codes], pa.float64()),
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
        ids: One a sample.
        statuses: One a sample.
        errors: One a sample; empty where the status is ok.
        columns: A cell for each of `places`.
        places: Positions of the samples that were observed.
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
