"""CMMD (Jayasumana et al. 2024): the maximum mean discrepancy of CLIP's embeddings."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from harness.interfaces.errors import Unavailable, counted
from harness.interfaces.types import MetricValue
from harness.metrics.checks import Rows, check_rows, check_same_width
from harness.metrics.stats import CONFIDENCE, Interval, one_thread_each, over_cores

Sums = NDArray[np.float64]

_BANDWIDTH = 10.0
_SCALE = 1000.0
_TILE = 2048
"""Rows and columns of the kernel's matrix at a time: 32 MiB a core."""


class _Sums(NamedTuple):
    """Of 1 - k over a matrix of pairs: by row, by column, and of row i with column i."""

    rows: Sums
    columns: Sums
    same: Sums


def cmmd_value(reference: Rows, samples: Rows, *, paired: bool) -> MetricValue:
    """CMMD with the published bandwidth of 10 and factor of 1,000.

    It is the estimator of smallest variance (Gretton et al. 2012, equation 5), which takes an image
    with itself for a pair too: above 0 for sets of one distribution, by about 8 / N here. The
    interval is the jackknife's, which leaves out an image (of pairs, a pair) in turn.

    Args:
        reference: float32 (N, d), of length 1 each.
        samples: float32 (M, d).
        paired: Whether row i of one is the original of row i of the other.

    Raises:
        Unavailable: Fewer than three images.
        ValueError: Widths differ, pairs of unequal count, or a row that is not finite (named).
    """
    n, m = len(reference), len(samples)
    check_same_width(reference.shape[1], samples.shape[1], ("reference", "samples"))
    if min(n, m) < 3:
        raise Unavailable(f"no interval of {counted(min(n, m), 'image')}; 3 are needed")
    if paired and n != m:
        raise ValueError(f"{n} references and {m} samples; pairs need equal counts")
    check_rows(reference, "reference")
    check_rows(samples, "samples")
    with one_thread_each():
        first, second = (_sums(each, each) for each in (reference, samples))
        across = _sums(reference, samples)
    total, own, other = (each.rows.sum() for each in (across, first, second))
    value = _discrepancy(total, own, other, n, m)
    if paired:
        without = _discrepancy(
            total - across.rows - across.columns + across.same,
            own - 2 * first.rows,
            other - 2 * second.rows,
            n - 1,
            n - 1,
        )
        variance = (n - 1) * without.var()
    else:
        left = _discrepancy(total - across.rows, own - 2 * first.rows, other, n - 1, m)
        right = _discrepancy(total - across.columns, own, other - 2 * second.rows, n, m - 1)
        variance = (n - 1) * left.var() + (m - 1) * right.var()
    half = float(norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt(variance))
    method = f"jackknife over {'pairs' if paired else 'images'}"
    found = float(value)
    interval = Interval(found - half, found + half, method)
    return interval.around(found, m, least=min(found, 0.0))


def _discrepancy(across: Sums, own: Sums, other: Sums, n: int, m: int) -> Sums:
    """The discrepancy by sums of 1 - k: those of k are so near 1 that it would lose six digits."""
    return _SCALE * (2 * across / (n * m) - own / n**2 - other / m**2)


def _sums(x: Rows, y: Rows) -> _Sums:
    """Sums of 1 - exp(-|x - y|² / 2σ²), float64, tile by tile; of one set half of the tiles."""
    symmetric = x is y
    tiles = [
        (i, j)
        for i, j in product(range(0, len(x), _TILE), range(0, len(y), _TILE))
        if not symmetric or i <= j
    ]
    lengths = [np.einsum("ij,ij->i", each, each, dtype=np.float64) for each in (x, y)]

    def tile(place: tuple[int, int]) -> _Sums:
        i, j = (slice(start, start + _TILE) for start in place)
        squares = (x[i] @ y[j].T).astype(np.float64)
        squares *= -2
        squares += lengths[0][i, None]
        squares += lengths[1][None, j]
        squares /= -2 * _BANDWIDTH**2
        distances: Sums = np.subtract(1, np.exp(squares, out=squares), out=squares)
        return _Sums(distances.sum(axis=1), distances.sum(axis=0), distances.diagonal().copy())

    rows, columns = np.zeros(len(x)), np.zeros(len(y))
    same = np.zeros(min(len(x), len(y)))
    for (i, j), found in zip(tiles, over_cores(tile, tiles), strict=True):
        rows[i : i + _TILE] += found.rows
        columns[j : j + _TILE] += found.columns
        if i == j:
            same[i : i + _TILE] = found.same
        elif symmetric:
            rows[j : j + _TILE] += found.columns
    return _Sums(rows, columns, same)
