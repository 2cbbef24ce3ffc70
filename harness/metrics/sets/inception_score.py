"""Inception Score with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics import inception_score as isc
from harness.metrics import stats
from harness.metrics.checks import Rows
from harness.metrics.resampling import GROUPS, deal_groups, jackknife_interval


def inception_score(logits: Rows, *, rule: isc.SplitRule, seed: int) -> MetricValue:
    """Inception Score, its mean over splits, with a jackknife interval.

    Splits are those of all rows; groups are dealt within each split and left out of all at once.

    Args:
        logits: float32 or float64 (N, classes).
        rule: how samples are split; see `harness.metrics.inception_score.split_rows`.
        seed: seed of the groups.

    Returns:
        the score, between 1 and the number of classes; the note gives the deviation over splits.

    Raises:
        Unavailable: no rows, or fewer than the rule has splits.
        ValueError: an unknown rule, or a row that is not finite (named).
    """
    least = 10 if rule == "torch-fidelity" else 1
    if len(logits) < least:
        raise Unavailable(f"{len(logits)} images are fewer than {least}, one for each split")
    result = isc.inception_score(logits, rule)
    splits = isc.split_rows(len(logits), rule)
    low, high, method = _score_interval(logits, splits, result.mean, seed)
    return MetricValue(
        value=result.mean,
        ci_low=None if low is None else max(low, 1.0),
        ci_high=high,
        n=len(logits),
        method=method,
        note=f"±{result.std:.3g} over {len(splits)} splits" if len(splits) > 1 else "",
    )


def _score_interval(
    logits: Rows, splits: Sequence[NDArray[np.int64]], value: float, seed: int
) -> stats.Interval:
    groups = min(GROUPS, *map(len, splits))
    if groups < 2:
        return stats.NO_INTERVAL
    scores = np.empty((groups, len(splits)))
    sizes = np.zeros(groups)
    for column, split in enumerate(splits):
        dealt = deal_groups(len(split), groups, seed)
        sizes += np.bincount(dealt, minlength=groups)
        parts = [isc.MarginalSums(logits.shape[1]) for _ in range(groups)]
        for group, part in enumerate(parts):
            part.add(logits[split[dealt == group]])
        for group in range(groups):
            rest = isc.MarginalSums(logits.shape[1])
            for other, part in enumerate(parts):
                if other != group:
                    rest.merge(part)
            scores[group, column] = rest.score()
    return jackknife_interval(value, list(scores.mean(axis=1)), list(sizes / sizes.sum()))
