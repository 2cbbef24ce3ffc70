"""Kernel Inception Distance as torch-fidelity 0.4 defines it, with its interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.interfaces.errors import Unavailable, counted
from harness.interfaces.types import MetricValue
from harness.metrics.checks import Rows, check_rows, check_same_width
from harness.metrics.features import FeatureSet, note_on_size
from harness.metrics.stats import CONFIDENCE, NO_INTERVAL, Interval


class KernelDistance(NamedTuple):
    """KID over random subsets."""

    mean: float
    """Mean over the subsets; may be slightly below 0, for the estimator is unbiased."""
    std: float
    """Population standard deviation over the subsets."""


def kernel_inception_distance(
    first: Rows, second: Rows, *, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> KernelDistance:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y/d + 1)³.

    The estimator leaves out the kernel of a row with itself, which would add a bias that shrinks
    with the subset; so unlike FID it is right on average for few images too, and may be negative.
    Subsets are drawn without replacement by ``RandomState(seed)``, first from `first`, then from
    `second`, as torch-fidelity draws them. Kernels are summed in float64: between near-identical
    sets torch-fidelity's float32 sums are off by 1e-4 of the value.

    Args:
        first: float32 or float64 (N, d).
        second: float32 or float64 (M, d).
        subsets: number of subsets.
        subset_size: samples in a subset, at least 2.
        seed: seed of the draws.

    Returns:
        mean and standard deviation over the subsets.

    Raises:
        ValueError: bad features (see `check_rows`), unequal widths, or fewer samples than a subset.
    """
    if subset_size < 2 or subsets < 1:
        raise ValueError(
            f"{subsets} subsets of {subset_size}; give at least 1 subset of at least 2 samples"
        )
    check_rows(first, "first", minimum=subset_size)
    check_rows(second, "second", minimum=subset_size)
    check_same_width(first.shape[1], second.shape[1], ("first", "second"))
    draws = np.random.RandomState(seed)
    values = np.empty(subsets)
    for i in range(subsets):
        x = first[draws.choice(len(first), subset_size, replace=False)]
        y = second[draws.choice(len(second), subset_size, replace=False)]
        values[i] = _within(x) + _within(y) - 2 * float(_kernel(x, y).mean())
    return KernelDistance(float(values.mean()), float(values.std()))


def kid_value(
    reference: FeatureSet,
    samples: FeatureSet,
    *,
    seed: int,
    min_samples: int,
    small_sets: bool,
    subsets: int = 100,
    subset_size: int = 1000,
) -> MetricValue:
    """Kernel Inception Distance, averaged over random subsets as torch-fidelity 0.4 does.

    The standard error of the whole set's figure follows from the spread s over subsets of m of n
    rows: s √(m/n), and s √(m / (n - m)) with the correction for subsets of one finite set, which
    overlap. n is the smaller set's size.

    Args:
        reference: features (N, d).
        samples: features (M, d).
        seed: seed of the subsets, which move the value; torch-fidelity's is 2020.
        min_samples: size below which KID is withheld; a subset's size is another such limit.
        small_sets: give it all the same, with a note, below one subset from halves of the sets.
        subsets: number of subsets.
        subset_size: rows in a subset.

    Raises:
        Unavailable: too few rows, or a reference known by statistics alone.
        ValueError: widths differ, or a row that is not finite (named).
    """
    from scipy.stats import norm

    check_same_width(reference.width, samples.width, ("reference", "samples"))
    first, second = reference.rows, samples.rows
    n = min(len(first), len(second))
    note = note_on_size(n, max(min_samples, subset_size), small_sets)
    size = subset_size if n >= subset_size else n // 2
    if size < 2:
        raise Unavailable(f"{n} images are fewer than the 4 that two halves need", "withheld")
    check_rows(first, "reference")
    check_rows(second, "samples")
    result = kernel_inception_distance(first, second, subsets=subsets, subset_size=size, seed=seed)
    interval = NO_INTERVAL
    if n > size:  # With a single possible subset the spread is 0 and says nothing.
        error = result.std * np.sqrt(size / (n - size))
        half = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
        method = f"spread of subsets of {size}, scaled to {n} images"
        interval = Interval(result.mean - half, result.mean + half, method)
    return interval.around(result.mean, len(second), note=note)


def kid_of_few(
    reference: FeatureSet, samples: FeatureSet, *, paired: bool, most: int
) -> MetricValue:
    """Kernel Inception Distance of sets too small for FID: whole sets, and pairs left out.

    The U-statistic of Gretton et al. (2012, JMLR 13, section 2.2) over all rows, of the kernel of
    `kernel_inception_distance`. Where a reconstruction has its original, their kernel is left out
    as that of a row with itself is: it would lower the value far below 0, and the more the smaller
    the set. The interval is the jackknife's, which leaves out an image (of pairs, a pair) in turn.

    Args:
        reference: features (N, d).
        samples: features (M, d).
        paired: whether row i of one is the original of row i of the other.
        most: samples from which on FID is the measure; of a larger reference that many rows, drawn
            from a fixed seed, stand for all.

    Raises:
        Unavailable: too few or too many samples, or a reference known by statistics alone.
        ValueError: widths differ, or a row that is not finite (named).
    """
    from scipy.stats import norm

    check_same_width(reference.width, samples.width, ("reference", "samples"))
    first, second = reference.rows, samples.rows
    if len(second) >= most:
        raise Unavailable(f"{len(second)} images are enough for FID and KID", "not applicable")
    n = min(len(first), len(second))
    if n < 3:
        raise Unavailable(f"no interval of {counted(n, 'image')}; 3 are needed", "withheld")
    check_rows(first, "reference")
    check_rows(second, "samples")
    if len(first) > most:
        first = first[np.random.RandomState(2020).choice(len(first), most, replace=False)]
    x, y = first.astype(np.float64), second.astype(np.float64)
    across = _kernel(x, y)
    if paired:
        np.fill_diagonal(across, 0)
    left_out = [(_others(x), across.sum(axis=1)), (_others(y), across.sum(axis=0))]
    pairs = across.size - (n if paired else 0)
    value = sum(own.sum() / (len(own) * (len(own) - 1)) for own, _ in left_out)
    value -= 2 * across.sum() / pairs
    if paired:
        (own_x, to_y), (own_y, to_x) = left_out
        rows = own_x + own_y - to_y - to_x
        variance = _jackknife((rows.sum() - 2 * rows) / ((n - 1) * (n - 2)))
    else:
        variance = 0.0
        for own, other in left_out:
            k, wide = len(own), across.size // len(own)
            without = (own.sum() - 2 * own) / ((k - 1) * (k - 2))
            variance += _jackknife(without - 2 * (across.sum() - other) / ((k - 1) * wide))
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * float(np.sqrt(variance))
    method = f"jackknife over {'pairs' if paired else 'images'}"
    interval = Interval(float(value) - half, float(value) + half, method)
    return interval.around(float(value), len(second), note=f"of few images: FID needs {most}")


def _others(x: Rows) -> Rows:
    """Of each row the sum of its kernels with the others."""
    kernel = _kernel(x, x)
    sums: Rows = kernel.sum(axis=1) - kernel.diagonal()
    return sums


def _jackknife(without: Rows) -> float:
    """The variance of a figure, by what it is without each row in turn."""
    return float((len(without) - 1) * without.var())


def _kernel(x: Rows, y: Rows) -> Rows:
    inner = (x @ y.T).astype(np.float64)
    inner /= x.shape[1]
    inner += 1
    cube: Rows = inner * inner
    cube *= inner
    return cube


def _within(x: Rows) -> float:
    """Mean of the kernel over pairs of different samples."""
    kernel = _kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))
