"""Fréchet distance between Gaussians fitted to feature vectors (FID, sFID), with its interval.

All in float64: the distance is a small difference of traces, and a covariance of 2,048 features has
eigenvalues over ten orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.linalg import lapack

from harness.interfaces.types import MetricValue
from harness.metrics import stats
from harness.metrics.checks import Rows, check_rows, check_same_width
from harness.metrics.features import (
    FeatureSet,
    FeatureStatistics,
    FeatureSums,
    note_on_size,
)
from harness.metrics.stats import one_thread_each, over_cores
from harness.metrics.unlocked import cholesky, congruent

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

# FID∞ rests on the full sets and on these shares of them.
_LADDER = (0.5, 0.6, 0.7, 0.8, 0.9)


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """Squared Fréchet distance |μ1-μ2|² + tr(Σ1 + Σ2 - 2(Σ1Σ2)^½).

    tr (Σ1Σ2)^½ is the sum of the square roots of the eigenvalues of LᵀΣ2L with Σ1 = LLᵀ: that
    matrix has the eigenvalues of Σ1Σ2 and is symmetric, so they are real. The usual route takes
    `scipy.linalg.sqrtm` of the product itself, which is not symmetric, so that rounding gives the
    root imaginary parts, and which takes 15 times as long (benchmarks/RESULTS.md). Where rounding
    of small eigenvalues could move the distance by more than 1e-8 of itself, or a covariance is
    singular, it is the sum of the singular values of L1ᵀL2 from pivoted Cholesky factors instead:
    about three times as slow and accurate to 1e-12.

    Args:
        first: statistics of one set.
        second: statistics of the other set.

    Returns:
        the distance in squared feature units; at least 0 up to rounding, which is not clipped.

    Raises:
        ValueError: the feature widths differ.
    """
    check_same_width(len(first.mean), len(second.mean), ("first", "second"))
    shift = first.mean - second.mean
    rest = float(shift @ shift + np.trace(first.covariance) + np.trace(second.covariance))
    root, error = _eigenvalue_trace(first.covariance, second.covariance)
    distance = rest - 2 * root
    if error > 1e-8 * abs(distance):
        distance = rest - 2 * _singular_value_trace(first.covariance, second.covariance)
    return distance


def frechet_distance_from_features(first: Rows, second: Rows) -> float:
    """Squared Fréchet distance between two sets of features.

    With no more samples than columns in both sets, tr (Σ1Σ2)^½ is the nuclear norm of the matrix of
    inner products of the centred features: faster, and exact where both covariances are singular.

    Args:
        first: float32 or float64 (N, d), N at least 2.
        second: float32 or float64 (M, d), M at least 2.

    Returns:
        the distance in squared feature units.

    Raises:
        ValueError: bad features (see `check_rows`), fewer than two rows, or unequal widths.
    """
    check_rows(first, "first", minimum=2)
    check_rows(second, "second", minimum=2)
    check_same_width(first.shape[1], second.shape[1], ("first", "second"))
    if max(len(first), len(second)) > first.shape[1]:
        return frechet_distance(
            FeatureSums.from_features(first).statistics(),
            FeatureSums.from_features(second).statistics(),
        )
    mean_1, x = _standardised(first)
    mean_2, y = _standardised(second)
    shift = mean_1 - mean_2
    nuclear = linalg.svdvals(x @ y.T, overwrite_a=True, check_finite=False).sum()
    return float(shift @ shift + np.sum(x * x) + np.sum(y * y) - 2 * nuclear)


def frechet_distance_to_statistics(known: FeatureStatistics, features: Rows) -> float:
    """Squared Fréchet distance from known statistics to a set of features.

    With no more samples than columns, tr (Σ1Σ2)^½ comes from the N x N matrix XΣ1Xᵀ of the centred
    features X, whose covariance has no full rank.

    Args:
        known: statistics of one set.
        features: float32 or float64 (N, d) of the other set, N at least 2.

    Returns:
        the distance in squared feature units.

    Raises:
        ValueError: bad features (see `check_rows`), fewer than two rows, or unequal widths.
    """
    check_rows(features, "features", minimum=2)
    if features.shape[1] != len(known.mean) or len(features) > features.shape[1]:
        return frechet_distance(known, FeatureSums.from_features(features).statistics())
    mean, x = _standardised(features)
    shift = known.mean - mean
    eigenvalues = linalg.eigvalsh(x @ known.covariance @ x.T, overwrite_a=True, check_finite=False)
    # Centring takes one rank, so the smallest eigenvalue is rounding.
    root = np.sqrt(np.clip(eigenvalues[1:], 0, None)).sum()
    return float(shift @ shift + np.trace(known.covariance) + np.sum(x * x) - 2 * root)


def frechet_distance_at_infinity(sizes: Sequence[int], distances: Sequence[float]) -> float:
    """Extrapolate distances at growing sample sizes to infinitely many samples (FID∞).

    The bias of FID is linear in 1/N (Chong and Forsyth 2020): the intercept of the least-squares
    line over 1/N estimates the unbiased distance.

    Args:
        sizes: samples behind each distance; at least two different ones.
        distances: the distance at each size.

    Returns:
        the intercept, in squared feature units.

    Raises:
        ValueError: unequal lengths, fewer than two different sizes, or a size below 1.
    """
    if len(sizes) != len(distances) or len(set(sizes)) < 2 or min(sizes) < 1:
        raise ValueError(
            f"{len(distances)} distances at sizes {list(sizes)}; give a distance for each of two "
            "or more different sizes"
        )
    slope_and_intercept = np.polyfit(1 / np.asarray(sizes, dtype=float), distances, deg=1)
    return float(slope_and_intercept[1])


def frechet_value(
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
    `harness.metrics.stats`). A reference known by statistics stays fixed. What remains without
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
    check_same_width(reference.width, samples.width, ("reference", "samples"))
    counts = [count for count in (reference.n, samples.n) if count is not None]
    note = note_on_size(min(counts), min_samples, small_sets)
    if paired and len(set(counts)) > 1:
        raise ValueError(f"{counts[0]} references and {counts[1]} samples; pairs need equal counts")
    for name, side in (("reference", reference), ("samples", samples)):
        if side.features is not None:
            check_rows(side.features, name)
    with one_thread_each():
        pair = FrechetPair(reference, samples, seed)
        value = pair.distance()
        notes = [note, pair.at_infinity(value) if extrapolate else ""]
        interval = pair.interval(value)
    # Rounding may leave the value itself a little below 0.
    return interval.around(
        value, len(samples.rows), least=min(value, 0.0), note="; ".join(filter(None, notes))
    )


class FrechetPair:
    """Fréchet distances between two sets and between parts of them."""

    def __init__(self, reference: FeatureSet, samples: FeatureSet, seed: int) -> None:
        self._seed = seed
        self._width = samples.width
        self._stored = reference.statistics
        self._known = [side.features for side in (reference, samples) if side.features is not None]
        self._rows = [len(features) for features in self._known]
        # Distances of sets with no more rows than columns come from the rows themselves.
        summed = max(self._rows) > self._width
        self._sums = over_cores(FeatureSums.from_features, self._known) if summed else []

    def distance(self, without: Sequence[Mask] = ()) -> float:
        """The distance, without some rows of every set whose rows are known."""
        if self._sums:
            found = [] if self._stored is None else [self._stored]
            for place, sums in enumerate(self._sums):
                if without:
                    sums -= FeatureSums.of_part(self._known[place][without[place]])
                found.append(sums.statistics())
            return frechet_distance(*found)
        kept = self._known
        if without:
            kept = [rows[~mask] for rows, mask in zip(kept, without, strict=True)]
        if self._stored is not None:
            return frechet_distance_to_statistics(self._stored, kept[0])
        return frechet_distance_from_features(*kept)

    def interval(self, value: float) -> stats.Interval:
        """The jackknife's interval; none where a covariance would not survive the loss."""
        groups = min(stats.GROUPS, *self._rows)
        if groups < 3:
            return stats.NO_INTERVAL
        dealt = [stats.deal_groups(rows, groups, self._seed) for rows in self._rows]
        if len(self._known) == 2 and np.array_equal(self._known[0], self._known[1]):
            # Computed, these would take four times as long as others: rounding decides them.
            left_out = [0.0] * groups
        else:
            left_out = over_cores(
                lambda group: self.distance([labels == group for labels in dealt]), range(groups)
            )
        sizes = np.sum([np.bincount(labels, minlength=groups) for labels in dealt], axis=0)
        return stats.jackknife_interval(value, left_out, list(sizes / sizes.sum()))

    def at_infinity(self, value: float) -> str:
        """FID∞ in words; its line over 1/N holds only where covariances have full rank."""
        n = min(self._rows)
        if n * _LADDER[0] <= self._width:
            return f"FID∞ needs more than {int(self._width / _LADDER[0])} images"
        ranks = [np.random.default_rng(self._seed).permutation(rows) for rows in self._rows]
        distances = over_cores(
            lambda share: self.distance([rank >= share * len(rank) for rank in ranks]), _LADDER
        )
        sizes = [round(share * n) for share in _LADDER]
        limit = frechet_distance_at_infinity([*sizes, n], [*distances, value])
        return f"FID∞ {limit:.4g} from {sizes[0]} to {n} images"


def _eigenvalue_trace(sigma_1: Matrix, sigma_2: Matrix) -> tuple[float, float]:
    """Tr (Σ1Σ2)^½ by eigenvalues, and the error to expect of it (infinite if Σ1 is singular)."""
    factor = cholesky(sigma_1)
    if factor is None:
        return 0.0, np.inf
    eigenvalues = np.linalg.eigvalsh(congruent(sigma_2, factor), UPLO="L")
    smallest, largest = eigenvalues[0], eigenvalues[-1]
    resolution = np.finfo(float).eps * largest
    if smallest <= resolution:
        return 0.0, np.inf
    # Eigenvalues are off by about `resolution` each, hence their roots by this much in quadrature.
    error = resolution * np.sqrt(np.sum(0.25 / eigenvalues))
    return float(np.sqrt(eigenvalues).sum()), float(error)


def _singular_value_trace(sigma_1: Matrix, sigma_2: Matrix) -> float:
    """Tr (Σ1Σ2)^½ as the nuclear norm of L1ᵀL2."""
    product = _pivoted_factor(sigma_1).T @ _pivoted_factor(sigma_2)
    if product.size == 0:
        return 0.0
    return float(linalg.svdvals(product, overwrite_a=True, check_finite=False).sum())


def _pivoted_factor(sigma: Matrix) -> Matrix:
    """Factor a positive semi-definite Σ of rank r as LLᵀ with L (d, r)."""
    # A negative tolerance asks LAPACK for d · eps · max(diagonal).
    packed, pivots, rank, _ = lapack.dpstrf(sigma, lower=1, tol=-1.0)
    factor = np.empty((len(sigma), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    return factor


def _standardised(features: Rows) -> tuple[NDArray[np.float64], Matrix]:
    """Return the mean, and the centred rows scaled so that their outer products sum to Σ."""
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    rows /= np.sqrt(len(rows) - 1)
    return mean, rows
