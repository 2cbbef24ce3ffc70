"""Intervals by resampling: every metric's 95% confidence interval is made here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from harness.interfaces.errors import UserError

CONFIDENCE = 0.95
RESAMPLES = 1000
_BATCH_ELEMENTS = 1 << 24


class Interval(NamedTuple):
    """A confidence interval and how it was made."""

    low: float | None
    high: float | None
    method: str


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
    data = (values, np.ones(n) if weights is None else weights)
    result = bootstrap(
        data,
        _weighted_mean,
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


def _weighted_mean(values: np.ndarray, weights: np.ndarray, axis: int = -1) -> np.ndarray:
    product: np.ndarray = (values * weights).sum(axis=axis) / weights.sum(axis=axis)
    return product


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
