"""Inception Score from logits under the split rules of the named protocols, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.interfaces.errors import Unavailable, counted
from harness.interfaces.types import MetricValue
from harness.metrics import stats
from harness.metrics.checks import Rows, check_rows

SplitRule = Literal["torch-fidelity", "adm", "single"]

# Samples at a time: their float64 probabilities stay in an L2 cache.
_STREAM = 64


class InceptionScore(NamedTuple):
    """Inception Score over splits."""

    mean: float
    """Mean over the splits; between 1 and the number of classes."""
    std: float
    """Population standard deviation over the splits; 0 for a single split."""


class MarginalSums:
    """Sums over softmax distributions from which a split's score follows; they add.

    Nothing per sample is kept: exp(mean KL(p ‖ mean p)) needs only Σ p and ΣΣ p log p.
    """

    def __init__(self, classes: int) -> None:
        """Start empty.

        Args:
            classes: number of logits.
        """
        self.count = 0
        self.probabilities = np.zeros(classes)
        self.negative_entropy = 0.0

    def add(self, logits: Rows) -> None:
        """Add samples by their finite logits, float32 or float64 (N, classes)."""
        shifted = logits.astype(np.float64)
        shifted -= logits.max(axis=1, keepdims=True)
        weights = np.exp(shifted)
        inverse = 1 / weights.sum(axis=1)
        # Σ p log p = Σ w (z - log Σw) / Σw: one logarithm for a row, none for a class.
        products = np.vecdot(weights, shifted)
        self.negative_entropy += float(np.sum(products * inverse + np.log(inverse)))
        self.probabilities += inverse @ weights
        self.count += len(logits)

    def merge(self, other: MarginalSums) -> None:
        """Add the samples of another sum over the same classes."""
        self.count += other.count
        self.probabilities += other.probabilities
        self.negative_entropy += other.negative_entropy

    def score(self) -> float:
        """Compute exp(mean KL(p ‖ mean p)) of the samples.

        Raises:
            ValueError: no samples.
        """
        if self.count == 0:
            raise ValueError("no samples were added; the split is empty")
        marginal = self.probabilities / self.count
        # A probability that underflowed to 0 in every sample contributes nothing.
        marginal = marginal[marginal > 0]
        return float(np.exp(self.negative_entropy / self.count - marginal @ np.log(marginal)))


def split_rows(count: int, rule: SplitRule) -> list[NDArray[np.int64]]:
    """List the rows of each split.

    Args:
        count: number of samples.
        rule: ``torch-fidelity`` shuffles with ``RandomState(2020)`` and cuts at i·N // 10; ``adm``
            cuts the given order every 5,000 samples; ``single`` does not split.

    Returns:
        row numbers of each split, int64.

    Raises:
        ValueError: an unknown rule, or fewer samples than splits.
    """
    if rule == "torch-fidelity":
        if count < 10:
            raise ValueError(f"{count} samples cannot fill 10 splits; use the rule 'single'")
        order = np.random.RandomState(2020).permutation(count)
        return [order[i * count // 10 : (i + 1) * count // 10] for i in range(10)]
    if count < 1:
        raise ValueError("there are no samples; the Inception Score needs at least 1")
    if rule == "adm":
        return [np.arange(i, min(i + 5000, count)) for i in range(0, count, 5000)]
    if rule == "single":
        return [np.arange(count)]
    raise ValueError(f"split rule {rule!r} is unknown; use 'torch-fidelity', 'adm' or 'single'")


def inception_score(logits: Rows, rule: SplitRule) -> InceptionScore:
    """Inception Score in float64.

    ADM reports the mean only, on float32 probabilities; torch-fidelity 0.4 reports both.

    Args:
        logits: float32 or float64 (N, classes), without bias for ``adm`` and ``torch-fidelity``.
        rule: how samples are split; see `split_rows`.

    Returns:
        mean and standard deviation over the splits.

    Raises:
        ValueError: bad logits (see `check_rows`), an unknown rule, or too few samples.
    """
    check_rows(logits, "logits")
    scores = []
    for split in split_rows(len(logits), rule):
        sums = MarginalSums(logits.shape[1])
        for start in range(0, len(split), _STREAM):
            sums.add(logits[split[start : start + _STREAM]])
        scores.append(sums.score())
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def inception_score_value(logits: Rows, *, rule: SplitRule, seed: int) -> MetricValue:
    """Inception Score, its mean over splits, with a jackknife interval.

    Splits are those of all rows; groups are dealt within each split and left out of all at once.

    Args:
        logits: float32 or float64 (N, classes).
        rule: how samples are split; see `split_rows`.
        seed: seed of the groups.

    Returns:
        the score, between 1 and the number of classes; the note gives the deviation over splits.

    Raises:
        Unavailable: no rows, or fewer than the rule has splits.
        ValueError: an unknown rule, or a row that is not finite (named).
    """
    least = 10 if rule == "torch-fidelity" else 1
    if len(logits) < least:
        raise Unavailable(f"{counted(len(logits), 'image')} for {least} splits, one each at least")
    result = inception_score(logits, rule)
    splits = split_rows(len(logits), rule)
    note = f"±{result.std:.3g} over {len(splits)} splits" if len(splits) > 1 else ""
    interval = _score_interval(logits, splits, result.mean, seed)
    return interval.around(result.mean, len(logits), least=1.0, note=note)


def _score_interval(
    logits: Rows, splits: Sequence[NDArray[np.int64]], value: float, seed: int
) -> stats.Interval:
    groups = min(stats.GROUPS, *map(len, splits))
    if groups < 2:
        return stats.NO_INTERVAL
    scores = np.empty((groups, len(splits)))
    sizes = np.zeros(groups)
    for column, split in enumerate(splits):
        dealt = stats.deal_groups(len(split), groups, seed)
        sizes += np.bincount(dealt, minlength=groups)
        parts = [MarginalSums(logits.shape[1]) for _ in range(groups)]
        for group, part in enumerate(parts):
            part.add(logits[split[dealt == group]])
        for group in range(groups):
            rest = MarginalSums(logits.shape[1])
            for other, part in enumerate(parts):
                if other != group:
                    rest.merge(part)
            scores[group, column] = rest.score()
    return stats.jackknife_interval(value, list(scores.mean(axis=1)), list(sizes / sizes.sum()))
