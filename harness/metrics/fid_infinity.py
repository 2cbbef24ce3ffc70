"""FID∞ (Chong and Forsyth 2020): the Fréchet distance that infinitely many images would have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import linregress, t

from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics.checks import check_rows, check_same_width
from harness.metrics.features import FeatureSet, note_on_size
from harness.metrics.frechet import FrechetPair
from harness.metrics.stats import CONFIDENCE, NO_INTERVAL, Interval, one_thread_each, over_cores

_FEWEST = 20
"""Images of which a tenth still has a covariance."""


def infinity_value(
    reference: FeatureSet,
    samples: FeatureSet,
    *,
    seed: int,
    points: int,
    smallest: int,
    small_sets: bool,
    paired: bool,
) -> MetricValue:
    """Distances of random subsets of growing size, fitted by a line over 1/N and read at 0.

    As in the paper and in dgm-eval the reference is whole at every size: its own finite size stays
    in the figure. Pairs leave together: an original and its reconstruction share what is
    random in them, and subsets of one side alone would measure that.

    The set's own randomness moves distances of all sizes together, as it moves the one of all
    images, whose jackknife over 20 groups gives it. What the draws of subsets add is the error of
    the line's value at 0. Both are independent, so their squares add.

    Args:
        reference: Features (N, d) or statistics.
        samples: Features (M, d).
        seed: Seed of the subsets and of the groups.
        points: Sizes, evenly spaced from the smallest to all images.
        smallest: Images of the smallest subset; a set needs twice as many.
        small_sets: Take a tenth of a smaller set for the smallest, as dgm-eval does, with a note.
        paired: Whether row i of both sets belongs together.

    Returns:
        the line's value at 0, in squared feature units; it may be below 0 for near-equal sets.

    Raises:
        Unavailable: Too few images.
        ValueError: Widths differ, pairs of unequal count, or a row that is not finite (named).
    """
    check_same_width(reference.width, samples.width, ("reference", "samples"))
    n = len(samples.rows)
    note = note_on_size(n, 2 * smallest, small_sets)
    if note:
        smallest = max(n // 10, 2)
    if n < _FEWEST:
        raise Unavailable(f"{n} images are fewer than the {_FEWEST} that a line needs", "withheld")
    for name, side in (("reference", reference), ("samples", samples)):
        if side.features is not None:
            check_rows(side.features, name)
    if paired and reference.n != n:
        raise ValueError(f"{reference.n} references and {n} samples; pairs need equal counts")
    sizes = np.linspace(smallest, n, points).astype(int)
    draws = np.random.default_rng(seed)
    left_out = [_others(n, draws.choice(n, size, replace=False)) for size in sizes]
    with one_thread_each():
        pair = FrechetPair(reference, samples, seed)
        # Of the reference, where its rows are known, nothing is left out but of pairs.
        own = [] if reference.features is None else [np.zeros(reference.n or 0, bool)]
        distances = over_cores(
            lambda without: pair.distance([without, without] if paired else [*own, without]),
            left_out,
        )
        spread = pair.interval(pair.distance())
    fitted = linregress(1 / sizes, distances)
    value = float(fitted.intercept)
    interval = NO_INTERVAL
    if spread.low is not None and spread.high is not None:
        quantile = float(t.ppf((1 + CONFIDENCE) / 2, points - 2))
        half = np.hypot((spread.high - spread.low) / 2, quantile * fitted.intercept_stderr)
        method = f"{spread.method}, and the line's error"
        interval = Interval(value - float(half), value + float(half), method)
    return interval.around(value, n, note=note)


def _others(n: int, drawn: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of n rows were not drawn, bool (n,)."""
    others = np.ones(n, bool)
    others[drawn] = False
    return others
