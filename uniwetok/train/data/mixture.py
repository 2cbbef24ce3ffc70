"""Weights of the sources that training data is mixed of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 16
"""Positions that hold each source in the number that its weight gives."""


def read_weights(mixture: Sequence[str]) -> dict[str, float]:
    """Read weights by name from texts such as ``faces@0.3``.

    Raises:
        ValueError: one is not such a text, a name comes twice, a weight is not positive, or so
            small that no block would hold the source.
    """
    weights: dict[str, float] = {}
    for text in mixture:
        name, _, number = text.rpartition("@")
        if not name or not is_number(number):
            raise ValueError(f"mixture={text}: write NAME@WEIGHT, such as faces@0.3")
        if name in weights:
            raise ValueError(f"mixture: source {name} is given twice; give each a name of its own")
        weights[name] = float(number)
        if not weights[name] > 0:
            raise ValueError(
                f"source {name}: weight {number} is not positive; leave it out or raise it"
            )
    quotas(weights)
    return weights


def write_weights(weights: Mapping[str, float]) -> tuple[str, ...]:
    """Write what `read_weights` reads."""
    return tuple(f"{name}@{weight:g}" for name, weight in weights.items())


def is_number(text: str) -> bool:
    """Say whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def quotas(weights: Mapping[str, float]) -> NDArray[np.int64]:
    """Positions of a block that each source has: the nearest to its weight, rounded to a whole."""
    total = sum(weights.values())
    if not math.isfinite(BLOCK * total):
        raise ValueError(
            f"mixture: the weights sum to {total:g}, which is too much; lower them all alike, they "
            f"need not sum to 1"
        )
    exact = np.array([BLOCK * weight / total for weight in weights.values()])
    rounded: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    for source in np.argsort(rounded - exact, kind="stable")[: BLOCK - int(rounded.sum())]:
        rounded[source] += 1
    for (name, weight), quota in zip(weights.items(), rounded, strict=True):
        if not quota:
            raise ValueError(
                f"source {name}: weight {weight:g} of {total:g} is less than one of {BLOCK:,} "
                f"images; leave it out or raise it"
            )
    return rounded
