"""Intervals over seeds, and what they say about a direction."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

Verdict = Literal["reproduced", "same sign", "opposite sign", "opposite"]
"""Certain at 95 % either way, or not certain with the sign of the mean."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval."""

    mean: float
    half: float
    """Half the interval's width; infinite with a single seed."""

    @property
    def verdict(self) -> Verdict:
        """What it says about "above 0"."""
        if self.mean > self.half:
            return "reproduced"
        if self.mean < -self.half:
            return "opposite"
        return "same sign" if self.mean > 0 else "opposite sign"


def interval(values: Sequence[float]) -> Interval:
    """Give Student's interval of a mean, for values of independent seeds."""
    count = len(values)
    mean = statistics.fmean(values)
    if count == 1:
        return Interval(mean, math.inf)
    error = statistics.stdev(values) / math.sqrt(count)
    return Interval(mean, float(stats.t.ppf(0.975, count - 1)) * error)
