"""Intervals of figures over questions that share a picture: a bootstrap over clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.metrics.stats import NO_INTERVAL, RESAMPLES, Interval, percentiles

_BATCH_ELEMENTS = 1 << 22

Figure = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From sums of every column (resamples, columns) to the figure (resamples,)."""


def cluster_sums(
    clusters: Sequence[str], values: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.float64]]:
    """Add up rows of the same cluster.

    Args:
        clusters: The cluster of each row.
        values: float (n, columns).

    Returns:
        the clusters in the order of their first rows, and their sums, float64 (clusters, columns).
    """
    places = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(places), values.shape[1]))
    np.add.at(sums, [places[name] for name in clusters], values)
    return list(places), sums


def cluster_interval(
    sums: NDArray[np.float64], figure: Figure, seed: int, strata: Sequence[str] | None = None
) -> Interval:
    """Percentile bootstrap over clusters; none for fewer than two, or where no resample is finite.

    Args:
        sums: What a cluster adds to the sums that the figure is made of, (clusters, columns).
        figure: The figure of such sums.
        seed: Seeds the resampling, so that the same observations give the same interval.
        strata: Groups of clusters whose sizes are fixed, one a cluster; none where None.
    """
    if len(sums) < 2:
        return NO_INTERVAL
    rng = np.random.default_rng(seed)
    names = (
        np.zeros(len(sums), int) if strata is None else np.unique(strata, return_inverse=True)[1]
    )
    members = [np.flatnonzero(names == stratum) for stratum in range(names.max() + 1)]
    step = max(1, _BATCH_ELEMENTS // len(sums))
    drawn = []
    for start in range(0, RESAMPLES, step):
        total = np.zeros((min(step, RESAMPLES - start), sums.shape[1]))
        for rows in members:
            even = np.full(len(rows), 1 / len(rows))
            total += rng.multinomial(len(rows), even, len(total)) @ sums[rows]
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn.append(figure(total))
    values = np.concatenate(drawn)
    return percentiles(values[np.isfinite(values)], f"bootstrap over {len(sums)} clusters")
