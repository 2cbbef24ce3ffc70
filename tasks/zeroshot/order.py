"""Whether labels that nothing proves are in another order of classes than the protocol's.

A wrong order scores near chance, and so does a weak model on the right one. What tells them apart
is that a model which recognises the classes still recognises them: one class of its own for most
of the images of each label, only another than the label says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNPROVEN = "its labels are taken for the protocol's order of classes: nothing in it says so"
"""The notice of labels that are bare numbers of classes."""

_ERRORS = 6
"""Standard errors by which another order must fit better; images of the protocols are 50,000."""
_TIMES = 2
"""How many times as many images another order must fit."""
_LEAST = 0.3
"""Share of images of which another order must fit more, of 400 classes and above."""
_FEW = 2.2
"""Of C classes it must fit more than this / C^(1/3): all of ten. An untrained network too may send
most images of a class to a class of its own, by their colours alone. Random ones on classes that
lie twice as far apart as their images do fit up to 0.54, 0.37, 0.42, 0.27 and 0.17 of the images of
12, 20, 50, 200 and 1,000 classes; the bound is 0.96, 0.81, 0.60, 0.38 and 0.30."""


def better_order(
    ids: Sequence[str], labels: NDArray[np.int64], predicted: NDArray[np.int64]
) -> tuple[float, float] | None:
    """Look for an order of classes that fits a model's predictions far better than the labels'.

    The best one is found on half of the images, by their ids' hashes, and judged on the other: on
    its own half it would fit any predictions better. The error is that of paired shares (McNemar).

    Args:
        ids: Of n images.
        labels: (n,), indices of classes.
        predicted: (n,), the class that the model puts first.

    Returns:
        The shares of the other half that the labels' order and the better one fit, or None where
        no order fits far better, or images are too few to tell.
    """
    from scipy.optimize import linear_sum_assignment

    half = np.array([hashlib.sha256(each.encode()).digest()[0] & 1 for each in ids], bool)
    present, places = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(present), 1 + max(labels.max(), predicted.max())))
    np.add.at(counts, (places[half], predicted[half]), 1)
    best = linear_sum_assignment(counts, maximize=True)[1]
    judged = predicted[~half]
    told, found = judged == labels[~half], judged == best[places[~half]]
    gained, lost = int((found & ~told).sum()), int((told & ~found).sum())
    least = max(_LEAST, _FEW / np.cbrt(len(present))) * len(judged)
    if (
        gained - lost > _ERRORS * np.sqrt(gained + lost)
        and found.sum() >= _TIMES * told.sum()
        and found.sum() > least
    ):
        return float(told.mean()), float(found.mean())
    return None
