"""Precision, recall, density and coverage with their intervals."""

from __future__ import annotations

import numpy as np

from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics import prdc, stats
from harness.metrics.checks import Rows
from harness.metrics.distances import Precision


def precision_recall(
    reference: Rows, samples: Rows, *, k: int = 3, precision: Precision = "float32", seed: int
) -> dict[str, MetricValue]:
    """Precision, recall, density and coverage, with bootstrap intervals.

    Intervals resample the rows that a figure averages over; the manifolds, which are made of the
    other rows, stay as they are, for a repeated row would shrink its own ball to a point.

    Args:
        reference: float32 (N, d).
        samples: float32 (M, d).
        k: neighbours that set a ball's radius.
        precision: arithmetic of the distances; see `harness.metrics.prdc.precision_recall`.
        seed: seed of the bootstrap.

    Returns:
        cells named precision, recall, density and coverage.

    Raises:
        Unavailable: no more rows than k in one of the sets.
        ValueError: widths differ, or a row that is not finite (named).
    """
    n = min(len(reference), len(samples))
    if n <= k:
        raise Unavailable(f"{n} images have no {k} neighbours each; at least {k + 1} are needed")
    inside = prdc.precision_recall(reference, samples, k, precision)
    figures = {
        "precision": (inside.precision, inside.sample_inside),
        "recall": (inside.recall, inside.reference_inside),
        "density": (inside.density, inside.sample_density / k),
        "coverage": (inside.coverage, inside.reference_covered),
    }
    cells = {}
    for name, (value, members) in figures.items():
        low, high, method = stats.mean_interval(members.astype(np.float64), seed)
        cells[name] = MetricValue(
            value=value,
            ci_low=low,
            ci_high=high,
            n=len(members),
            method=f"{method}, manifolds held fixed",
        )
    return cells
