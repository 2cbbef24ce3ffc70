"""Intervals by resampling: the bootstrap for means, the jackknife for figures of whole sets.

A bootstrap resample repeats rows. That is right for a mean over samples and wrong for a figure of a
set: a repeated row adds nothing to a covariance, so a resample is like a smaller set, and the
Fréchet distance, whose bias grows as sets shrink, comes out too high; its percentiles can lie
wholly above the value. Leaving groups of rows out in turn keeps all rows different.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from harness.interfaces.errors import UserError
from harness.interfaces.observing import usable_cores
from harness.interfaces.types import MetricValue

T = TypeVar("T")
R = TypeVar("R")

CONFIDENCE = 0.95
RESAMPLES = 1000
GROUPS = 20
"""Groups of rows that the jackknife leaves out in turn."""
_BATCH_ELEMENTS = 1 << 24
_MOST_THREADS = 16
"""Each may hold several matrices of 2,048 x 2,048."""
_LEAST_REST = 0.01
"""Share of a set's error that must be left when an image is left out."""


class Interval(NamedTuple):
    """A confidence interval and how it was made."""

    low: float | None
    high: float | None
    method: str

    def around(
        self,
        value: float,
        n: int,
        note: str = "",
        *,
        least: float = -np.inf,
        most: float = np.inf,
        unit: str = "",
    ) -> MetricValue:
        """The value of a metric of n samples with this interval, cut to what it can be."""
        return MetricValue(
            value=value,
            ci_low=None if self.low is None else max(self.low, least),
            ci_high=None if self.high is None else min(self.high, most),
            n=n,
            unit=unit,
            method=self.method,
            note=note,
        )


NO_INTERVAL = Interval(None, None, "")


def mean_interval(
    values: np.ndarray, seed: int, weights: np.ndarray | None = None, *, resamples: int = RESAMPLES
) -> Interval:
    """Percentile bootstrap over samples of a (weighted) mean; none for fewer than two values.

    Args:
        values: float (n,).
        seed: Seeds the resampling, so that the same observations give the same interval.
        weights: float (n,) weights of the mean; equal where None.
        resamples: Number of bootstrap resamples.
    """
    from scipy.stats import bootstrap

    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        return NO_INTERVAL
    weights = np.ones(n) if weights is None else weights
    data: tuple[np.ndarray, ...] = (values, weights)
    mean: Callable[..., np.ndarray] = _weighted_mean
    if (weights == weights[0]).all():
        # A sum of equal weights is the same for every resample, so they need not be drawn.
        data, mean = (values * weights,), functools.partial(_mean_over, weights.sum())
    result = bootstrap(
        data,
        mean,
        n_resamples=resamples,
        batch=max(1, _BATCH_ELEMENTS // n),
        vectorized=True,
        paired=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    return Interval(float(interval.low), float(interval.high), "bootstrap over samples")


def _mean_over(total: float, products: np.ndarray, axis: int = -1) -> np.ndarray:
    means: np.ndarray = products.sum(axis=axis) / total
    return means


def _weighted_mean(values: np.ndarray, weights: np.ndarray, axis: int = -1) -> np.ndarray:
    product: np.ndarray = (values * weights).sum(axis=axis) / weights.sum(axis=axis)
    return product


def wilson(right: int, n: int) -> Interval:
    """Wilson's interval of the share of `right` among `n` trials."""
    from scipy.stats import binomtest

    found = binomtest(right, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high), "Wilson")


def psnr_of_mean_error(psnr: np.ndarray, pixels: np.ndarray, seed: int) -> tuple[float, Interval]:
    """PSNR of the mean squared error over all pixels of all images, as torchmetrics takes it.

    Args:
        psnr: float (n,) in dB, +inf where images are identical.
        pixels: float (n,), the size of each image.
        seed: Seeds the resampling of images.

    Returns:
        the PSNR in dB, +inf where all images are identical, and its interval.
    """
    errors = 10 ** (-psnr / 10)
    mean = float(np.average(errors, weights=pixels))
    if mean == 0:
        return np.inf, NO_INTERVAL
    low, high, method = mean_interval(errors, seed, pixels)
    if low is None or high is None or low == 0:
        return -10 * float(np.log10(mean)), NO_INTERVAL
    best, worst = (-10 * float(np.log10(error)) for error in (low, high))
    return -10 * float(np.log10(mean)), Interval(worst, best, method)


def psnr_shares(psnr: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """What each image contributes to the PSNR of the mean error: the jackknife's pseudo-values.

    Their mean over pixels is moved to that PSNR, so that a difference of two such means is that of
    the PSNRs, and its spread over images theirs. Where an image has nearly all of the error, and
    the PSNR without it knows no bound, they are what the PSNR is to first order in the errors
    (delta method), which covers less: 91% in place of 93% for 8 images, of 95%.

    Args:
        psnr: float (n,) in dB, +inf where images are identical.
        pixels: float (n,), the size of each image.

    Returns:
        float64 (n,) in dB; +inf where all images are identical.
    """
    errors, total = 10 ** (-psnr / 10) * pixels, pixels.sum()
    rest = errors.sum() - errors
    if not errors.any():
        return np.full(len(psnr), np.inf)
    value = -10 * np.log10(errors.sum() / total)
    if (rest < _LEAST_REST * errors.sum()).any():
        changes = 10 / np.log(10) * (1 - errors / pixels * total / errors.sum())
    else:
        without = -10 * np.log10(rest / (total - pixels))
        changes = (total - pixels) / pixels * (value - without)
        changes -= np.average(changes, weights=pixels)
    shares: np.ndarray = value + changes
    return shares


def batch_means_weights(n: int, batch_size: int, world_size: int) -> np.ndarray:
    """Weights (n,), of sum 1, with which a mean of batch means counts each of n samples.

    Sample i lies on rank i mod `world_size`, every rank cuts its samples into batches of
    `batch_size`, and all batch means count alike: a short last batch is over-weighted. This is the
    released evaluation's average without its sampler's padding by repeated samples.
    """
    ranks = np.arange(n) % world_size
    batches = (np.arange(n) // world_size) // batch_size
    _, place, counts = np.unique(
        np.stack([ranks, batches]), axis=1, return_inverse=True, return_counts=True
    )
    weights: np.ndarray = 1.0 / (counts[place.reshape(-1)] * len(counts))
    return weights


def averaging_weights(n: int, averaging: Mapping[str, Any]) -> np.ndarray:
    """Weights (n,) of sum 1 for a protocol's `averaging` table; equal where it says nothing.

    The rule 'global-mse' is about PSNR; every other mean is then over images.
    """
    rule = averaging.get("rule", "per-image")
    if rule in {"per-image", "global-mse"}:
        return np.full(n, 1.0 / n)
    if rule == "batch-means":
        return batch_means_weights(n, averaging["batch_size"], averaging["world_size"])
    raise UserError(
        f"protocol setting 'averaging.rule' is {rule!r}: use per-image, batch-means or global-mse"
    )


def clustered_means(
    values: np.ndarray,
    clusters: np.ndarray,
    seed: int,
    *,
    weights: np.ndarray | None = None,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """Means of resamples that draw whole clusters, each with all of its values.

    Args:
        values: float (n,), sums where they are weighted.
        clusters: (n,) of anything that sorts; equal ones belong together.
        seed: Seeds the resampling.
        weights: float (n,), how much each sum is a sum of; 1 where None.
        resamples: Number of bootstrap resamples.

    Returns:
        float64 (resamples,); empty for fewer than two clusters, of which nothing can be said.
    """
    _, places = np.unique(clusters, return_inverse=True)
    counts = np.bincount(places, weights=weights)
    if len(counts) < 2:
        return np.empty(0)
    sums = np.bincount(places, weights=values)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(resamples, len(counts)))
    means: np.ndarray = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def percentiles(means: np.ndarray, method: str) -> Interval:
    """The interval that resampled figures (resamples,) span; none if there are none."""
    if len(means) == 0 or not np.isfinite(means).all():
        return NO_INTERVAL
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(low), float(high), method)


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
    from scipy.stats import t

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


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let every call of BLAS and LAPACK run on one thread: another number gives other last bits.

    Factorisations gain little from more; the cores are used by `over_cores`.
    """
    with threadpool_limits(1, user_api="blas"):
        yield


def over_cores(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What the work gives for each item, in their order; the work is to release the lock."""
    with ThreadPoolExecutor(min(usable_cores(), _MOST_THREADS)) as pool:
        return list(pool.map(work, items))
