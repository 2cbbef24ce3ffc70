"""Delete-a-group jackknife: intervals of figures that a bootstrap would bias.

A bootstrap resample repeats rows. A repeated row adds nothing to a covariance, so a resample is
like a smaller set, and the Fréchet distance, whose bias grows as sets shrink, comes out too high:
its percentiles can lie wholly above the value. Leaving rows out keeps all rows different.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from harness.metrics.stats import CONFIDENCE, Interval

GROUPS = 20
"""Groups that are left out in turn."""


def deal_groups(rows: int, groups: int, seed: int) -> NDArray[np.int64]:
    """Deal rows at random into groups that differ by at most one row.

    Random and not every `groups`-th row: generators often write classes in rotation, and then each
    group would take whole classes with it. Sets of the same size are dealt alike, so the rows of a
    pair fall into the same group.

    Args:
        rows: Number of rows.
        groups: Number of groups.
        seed: Seed of the deal.

    Returns:
        int64 (rows,), the group of each row in [0, groups).
    """
    return np.random.default_rng(seed).permutation(rows) % groups


def jackknife_interval(
    value: float, left_out: Sequence[float], shares: Sequence[float]
) -> Interval:
    """95% interval from the figure without each group in turn.

    With groups of one size the variance is the textbook (G-1)/G Σ (θ_g - θ̄)². Groups that differ
    by a row differ in bias too; the pseudo-values of Busing, Meijer and van der Leeden (1999),
    'Delete-m jackknife for unequal m', take that out. The interval is the value ± Student's t with
    G - 1 degrees of freedom times the standard error: it describes the figure at this number of
    rows, with the bias that it has there.

    Args:
        value: The figure of all rows.
        left_out: The figure without group g, for each of at least two groups.
        shares: The share of all rows that lie in group g, in (0, 1); they sum to 1.

    Raises:
        ValueError: fewer than two groups, or lists of different lengths.
    """
    if len(left_out) < 2 or len(left_out) != len(shares):
        raise ValueError(
            f"{len(left_out)} figures for {len(shares)} groups; give one for each of 2 or more"
        )
    without, share = np.asarray(left_out, float), np.asarray(shares, float)
    groups = len(without)
    method = f"jackknife over {groups} groups"
    if (without == value).all():
        return Interval(value, value, method)  # What follows would leave rounding errors.
    pseudo = value / share - (1 / share - 1) * without
    centre = groups * value - np.sum((1 - share) * without)
    error = np.sqrt(np.mean((pseudo - centre) ** 2 / (1 / share - 1)))
    half = float(t.ppf((1 + CONFIDENCE) / 2, groups - 1) * error)
    return Interval(value - half, value + half, method)
