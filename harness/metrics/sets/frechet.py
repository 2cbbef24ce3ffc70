"""Fréchet distance between two sets of features (FID, sFID) with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.interfaces.types import MetricValue
from harness.metrics import stats
from harness.metrics.checks import check_rows
from harness.metrics.feature_statistics import FeatureStatistics, FeatureSums
from harness.metrics.frechet import (
    frechet_distance,
    frechet_distance_at_infinity,
    frechet_distance_from_features,
    frechet_distance_to_statistics,
)
from harness.metrics.resampling import GROUPS, deal_groups, jackknife_interval
from harness.metrics.sets.feature_set import FeatureSet, check_width, note_on_size

Mask = NDArray[np.bool_]

# FID∞ rests on the full sets and on these shares of them.
_LADDER = (0.5, 0.6, 0.7, 0.8, 0.9)


def fid(
    reference: FeatureSet,
    samples: FeatureSet,
    *,
    seed: int,
    min_samples: int,
    small_sets: bool,
    paired: bool,
    extrapolate: bool = False,
) -> MetricValue:
    """Fréchet distance (FID of pool3, sFID of spatial features) with a jackknife interval.

    20 groups of rows are left out in turn, of both sets at once: for independent sets the groups'
    effects have no covariance on average, so the variances add as they should, and for pairs the
    covariance counts, because a pair's rows lie in the same group (why no bootstrap, says
    `harness.metrics.resampling`). A reference known by statistics stays fixed. What remains without
    a group are the whole set's sums less the group's, so memory holds a few d x d matrices a side
    and no second copy of the features, and time goes into 20 more distances.

    Args:
        reference: features (N, d) or statistics.
        samples: features (M, d).
        seed: seed of the groups and of the subsets for `extrapolate`.
        min_samples: size below which the distance is withheld, for its bias would be its value.
        small_sets: give it all the same, with a note.
        paired: row i of both sets belongs together; N must equal M.
        extrapolate: add FID∞ to the note, the distance at infinitely many samples, from growing
            random subsets of both sets.

    Returns:
        the distance in squared feature units; the interval is cut at 0.

    Raises:
        Unavailable: too few rows.
        ValueError: widths differ, pairs of unequal count, or a row that is not finite (named).
    """
    check_width(reference, samples)
    counts = [count for count in (reference.n, samples.n) if count is not None]
    note = note_on_size(min(counts), min_samples, small_sets)
    if paired and len(set(counts)) > 1:
        raise ValueError(f"{counts[0]} references and {counts[1]} samples; pairs need equal counts")
    for name, side in (("reference", reference), ("samples", samples)):
        if side.features is not None:
            check_rows(side.features, name)
    pair = _FrechetPair(reference, samples, seed)
    value = pair.distance()
    notes = [note, pair.at_infinity(value) if extrapolate else ""]
    low, high, method = pair.interval(value)
    return MetricValue(
        value=value,
        ci_low=None if low is None else min(value, max(low, 0.0)),
        ci_high=high,
        n=len(samples.rows),
        method=method,
        note="; ".join(filter(None, notes)),
    )


class _Side:
    """One set, whole or without some of its rows."""

    def __init__(self, given: FeatureSet, summed: bool) -> None:
        self.features = given.features
        self._fixed = given.statistics
        self._sums: FeatureSums | None = None
        if summed and given.features is not None:
            self._sums = FeatureSums.from_features(given.features)

    def statistics(self, without: Mask | None) -> FeatureStatistics:
        """Mean and covariance; stored ones do not change."""
        if self._fixed is not None:
            return self._fixed
        assert self._sums is not None
        assert self.features is not None
        whole = self._sums
        if without is None:
            return whole.statistics()
        lost = FeatureSums.from_features(self.features[without])
        rest = FeatureSums(
            whole.count - lost.count, whole.total - lost.total, whole.outer - lost.outer
        )
        return rest.statistics()


class _FrechetPair:
    """Fréchet distances between two sets and between parts of them."""

    def __init__(self, reference: FeatureSet, samples: FeatureSet, seed: int) -> None:
        self._seed = seed
        self._width = samples.width
        known = [side.features for side in (reference, samples) if side.features is not None]
        self._rows = [len(features) for features in known]
        # Distances of sets with no more rows than columns come from the rows themselves.
        self._summed = max(self._rows) > self._width
        self._known = reference.statistics
        self._reference = _Side(reference, self._summed)
        self._samples = _Side(samples, self._summed)

    def distance(self, without: Sequence[Mask] = ()) -> float:
        """The distance, without some rows of every set whose rows are known."""
        masks: list[Mask | None] = list(without) or [None, None]
        first, second = masks[0], masks[-1]
        if self._summed:
            return frechet_distance(
                self._reference.statistics(first), self._samples.statistics(second)
            )
        rows = (self._reference.features, first), (self._samples.features, second)
        kept = [part if mask is None else part[~mask] for part, mask in rows if part is not None]
        if self._known is not None:
            return frechet_distance_to_statistics(self._known, kept[0])
        return frechet_distance_from_features(kept[0], kept[1])

    def interval(self, value: float) -> stats.Interval:
        """The jackknife's interval; none where a covariance would not survive the loss."""
        groups = min(GROUPS, *self._rows)
        if groups < 3:
            return stats.NO_INTERVAL
        dealt = [deal_groups(rows, groups, self._seed) for rows in self._rows]
        if self._equal():
            # Computed, these would take four times as long as others: rounding decides them.
            left_out = [0.0] * groups
        else:
            left_out = [self.distance([labels == g for labels in dealt]) for g in range(groups)]
        sizes = np.sum([np.bincount(labels, minlength=groups) for labels in dealt], axis=0)
        return jackknife_interval(value, left_out, list(sizes / sizes.sum()))

    def _equal(self) -> bool:
        """Whether the sets are the same rows, and stay so without any of them."""
        first, second = self._reference.features, self._samples.features
        return first is not None and second is not None and np.array_equal(first, second)

    def at_infinity(self, value: float) -> str:
        """FID∞ in words; its line over 1/N holds only where covariances have full rank."""
        n = min(self._rows)
        if n * _LADDER[0] <= self._width:
            return f"FID∞ needs more than {int(self._width / _LADDER[0])} images"
        ranks = [np.random.default_rng(self._seed).permutation(rows) for rows in self._rows]
        distances = [
            self.distance([rank >= share * len(rank) for rank in ranks]) for share in _LADDER
        ]
        sizes = [round(share * n) for share in _LADDER]
        limit = frechet_distance_at_infinity([*sizes, n], [*distances, value])
        return f"FID∞ {limit:.4g} from {sizes[0]} to {n} images"
