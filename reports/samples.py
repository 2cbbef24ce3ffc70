"""What a run measured of each sample, and what each contributes to a metric; without pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.data.digests import Damaged, read_table
from harness.interfaces import ClusteredMetric, SampleMetric
from harness.interfaces.errors import UserError
from harness.interfaces.registry import METRICS
from harness.interfaces.types import Status
from harness.metrics.scores import SampleMean
from harness.metrics.stats import averaging_weights
from reports.records import Loaded

FILE = "samples.parquet"
Columns = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]
_OWN = {"id", "status", "error"}
"""Columns that every task has."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The rows of `samples.parquet` in task order."""

    ids: list[str]
    status: list[str]
    error: list[str]
    columns: dict[str, NDArray[np.float64]]
    """Float (n,) per numeric column; NaN where a sample has no value."""
    texts: dict[str, list[str]]
    """Words that were observed: replies, verdicts, questions; empty where a sample has none."""

    def columns_of(self, rows: NDArray[np.int64]) -> Columns:
        """Ids and all columns of some rows, as metrics take them."""
        words = {"id": self.ids, **self.texts}
        numbers: Columns = {name: each[rows] for name, each in self.columns.items()}
        return numbers | {name: np.array(each, object)[rows] for name, each in words.items()}

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which samples went through every stage."""
        return np.array([status == Status.OK for status in self.status], dtype=bool)


def read_samples(loaded: Loaded) -> Samples:
    """A run's rows.

    Raises:
        UserError: A record without its run directory, or a file that is no such table.
    """
    if loaded.samples is None:
        raise UserError(
            f"{loaded.path} has no {FILE} beside it: give the run directory, which "
            "`uwt-eval run` or `metrics --record` wrote"
        )
    return _read(loaded.samples)


def _read(path: Path) -> Samples:
    try:
        table = read_table(path)
    except (OSError, Damaged) as error:
        raise UserError(
            f"{path} is damaged ({error}): `uwt-eval score RUN` writes it again"
        ) from error
    if missing := _OWN - set(table.column_names):
        raise UserError(f"{path} has no column {sorted(missing)[0]!r}: it is no table of samples")
    ids = [str(each) for each in table["id"].to_pylist()]
    if len(set(ids)) != len(ids):
        raise UserError(f"{path} holds a sample id twice: run the task again")
    return Samples(
        ids=ids,
        status=[str(each) for each in table["status"].to_pylist()],
        error=[str(each or "") for each in table["error"].to_pylist()],
        columns={name: _floats(table[name]) for name in table.column_names if _number(table[name])},
        texts={
            name: [str(each or "") for each in table[name].to_pylist()]
            for name in table.column_names
            if name not in _OWN and _text(table[name])
        },
    )


def _number(column: pa.ChunkedArray) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return any(test(column.type) for test in tests)


def _text(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values: NDArray[np.float64] = (
        column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    )
    return values


def values_of(
    metric: str, samples: Columns, settings: Mapping[str, Any]
) -> tuple[Floats, Floats] | None:
    """A metric's values and weights (n,), NaN where a sample does not count; None for whole sets.

    A metric that is not installed is taken for the mean of the column of its own name.

    Args:
        metric: Its name in the record.
        samples: Observed columns of n samples that finished.
        settings: The protocol's.
    """
    averaging = settings.get("averaging", {})
    plugin = METRICS.get(metric) if metric in METRICS else None
    if isinstance(plugin, SampleMetric):
        try:
            return plugin.of_samples(samples, settings)
        except KeyError:  # A column that this run did not observe.
            return None
    own = plugin is None or (isinstance(plugin, SampleMean) and plugin.column == metric)
    if not own or metric not in samples or samples[metric].dtype == object:
        return None
    if is_pooled(metric, settings):
        if not {"height", "width"} <= set(samples):
            return None
        return samples[metric], samples["height"] * samples["width"]
    return samples[metric], averaging_weights(len(samples[metric]), averaging)


def is_pooled(metric: str, settings: Mapping[str, Any]) -> bool:
    """Whether a metric in dB is that of the mean error over samples, not the mean of theirs."""
    return metric == "psnr" and settings.get("averaging", {}).get("rule") == "global-mse"


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each finished sample contributes to a run's means."""

    ids: list[str]
    values: dict[str, Floats]
    """Float (n,) by metric; NaN or infinite where a sample does not count."""
    weights: dict[str, Floats]
    """Float (n,) by metric, with which it averages the values."""
    clusters: list[str] | None
    """The cluster of each sample, where a metric says which samples are not independent."""
    pooled: frozenset[str] = frozenset()
    """Metrics that are PSNRs of the mean error, weighted by pixels; +inf counts in them."""


def contributions(
    rows: Samples, metrics: Iterable[str], settings: Mapping[str, Any]
) -> Contributions:
    """Values and weights of those metrics that are means over samples.

    Args:
        rows: The run's samples.
        metrics: Names in the record.
        settings: The protocol's.
    """
    finished = np.flatnonzero(rows.ok)
    columns = rows.columns_of(finished)
    found = {name: values_of(name, columns, settings) for name in metrics}
    means = {name: pair for name, pair in found.items() if pair is not None}
    return Contributions(
        [rows.ids[at] for at in finished],
        {name: values for name, (values, _) in means.items()},
        {name: weights for name, (_, weights) in means.items()},
        _clusters(means, columns),
        frozenset(name for name in means if is_pooled(name, settings)),
    )


def _clusters(metrics: Iterable[str], samples: Columns) -> list[str] | None:
    for metric in metrics:
        plugin = METRICS.get(metric) if metric in METRICS else None
        if isinstance(plugin, ClusteredMetric):
            return [str(name) for name in plugin.clusters_of(samples)]
    return None
