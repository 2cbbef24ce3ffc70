"""Top-k accuracy with a defined rule for ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics.checks import Rows, check_rows


def label_ranks(scores: Rows, labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Rank of each sample's true class, 0 being best.

    Among equal scores the class with the lower index comes first:
    rank = #{score > true} + #{score = true and index < label}.

    Args:
        scores: float32 or float64 (N, classes), higher is better.
        labels: integers (N,) in [0, classes).

    Returns:
        int64 (N,) in [0, classes).

    Raises:
        ValueError: bad scores (see `check_rows`), or labels of another length or out of range.
    """
    check_rows(scores, "scores")
    count, classes = scores.shape
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels are {labels.dtype} {labels.shape} for {count} score rows; give one integer "
            "label for each row"
        )
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"label {labels[row]} of row {row} is outside [0, {classes}); check the class list"
        )
    true = np.take_along_axis(scores, labels[:, None].astype(np.int64), axis=1)
    ahead = (scores == true) & (np.arange(classes) < labels[:, None])
    ranks: NDArray[np.int64] = ((scores > true) | ahead).sum(axis=1)
    return ranks


def topk_accuracy(ranks: NDArray[np.int64], ks: Sequence[int]) -> dict[int, float]:
    """Share of samples whose true class is among the first k.

    Args:
        ranks: int64 (N,) from `label_ranks`.
        ks: the values of k, each at least 1.

    Returns:
        accuracy in [0, 1] for each k.

    Raises:
        ValueError: no samples, or a k below 1.
    """
    if ranks.size == 0:
        raise ValueError("there are no ranks; the accuracy needs at least 1 sample")
    if min(ks, default=1) < 1:
        raise ValueError(f"k is {min(ks)}; give values of at least 1")
    return {k: float(np.mean(ranks < k)) for k in ks}
