"""Kernel Inception Distance with its interval."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics.checks import check_rows
from harness.metrics.kid import kernel_inception_distance
from harness.metrics.sets.feature_set import FeatureSet, check_width, note_on_size
from harness.metrics.stats import CONFIDENCE


def kid(
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
    check_width(reference, samples)
    first, second = reference.rows, samples.rows
    n = min(len(first), len(second))
    note = note_on_size(n, max(min_samples, subset_size), small_sets)
    size = subset_size if n >= subset_size else n // 2
    if size < 2:
        raise Unavailable(f"{n} images are fewer than the 4 that two halves need", "withheld")
    check_rows(first, "reference")
    check_rows(second, "samples")
    result = kernel_inception_distance(first, second, subsets=subsets, subset_size=size, seed=seed)
    # With a single possible subset the spread is 0 and says nothing.
    error = None if n == size else result.std * np.sqrt(size / (n - size))
    half = None if error is None else float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    return MetricValue(
        value=result.mean,
        ci_low=None if half is None else result.mean - half,
        ci_high=None if half is None else result.mean + half,
        n=len(second),
        method="" if half is None else f"spread of subsets of {size}, scaled to {n} images",
        note=note,
    )
