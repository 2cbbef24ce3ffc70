"""Bjøntegaard's deltas: how far two curves of quality over rate lie apart, on average.

Bjøntegaard, 'Calculation of average PSNR differences between RD-curves', VCEG-M33 (2001), on the
logarithm of the rate. Between the points lies a piecewise cubic that is monotone where they are
(pchip, Fritsch and Carlson), as in the common test conditions of JCT-VC and JVET (JVET-T2010), or
one cubic through all, as in VCEG-M33. What is integrated is what both curves have in common;
nothing is extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Method(StrEnum):
    """What lies between the points."""

    PCHIP = "pchip"
    CUBIC = "cubic"


LEAST_POINTS = {Method.PCHIP: 2, Method.CUBIC: 4}


class _Cubic:
    """One cubic, by least squares where there are more than four points."""

    def __init__(self, x: Floats, y: Floats) -> None:
        self._line: NDArray[Any] = np.polyfit(x, y, 3)
        self._area = np.polyint(self._line)

    def __call__(self, x: Floats) -> Floats:
        line: Floats = np.polyval(self._line, x)
        return line

    def integrate(self, low: float, high: float) -> float:
        return float(np.polyval(self._area, high) - np.polyval(self._area, low))


@dataclass(frozen=True)
class Curve:
    """One curve; its points are sorted by rate, and no rate is there twice."""

    rates: Floats
    """float (n,), logarithms of bits per pixel, rising."""
    qualities: Floats
    """float (n,), higher is better."""
    method: Method = Method.PCHIP

    @cached_property
    def over_rate(self) -> tuple[Any, Floats]:
        """Quality as a function of the rate, and the ends of its range."""
        return self._fit(self.rates, self.qualities), self.rates[[0, -1]]

    @cached_property
    def over_quality(self) -> tuple[Any, Floats]:
        """Rate as a function of quality, and the ends of its range.

        A point that is no better than a cheaper one is left out, for nobody would pay for it, and
        with it a quality would have two rates.
        """
        front = self.front
        return self._fit(self.qualities[front], self.rates[front]), self.qualities[front][[0, -1]]

    @cached_property
    def front(self) -> NDArray[np.bool_]:
        """Which points, bool (n,), are better than all cheaper ones."""
        best = np.maximum.accumulate(self.qualities)
        return np.concatenate([[True], self.qualities[1:] > best[:-1]])

    def _fit(self, x: Floats, y: Floats) -> Any:
        from scipy.interpolate import PchipInterpolator

        if len(x) < LEAST_POINTS[self.method] or np.diff(x).min() <= 0:
            return None
        return PchipInterpolator(x, y) if self.method is Method.PCHIP else _Cubic(x, y)


def rate_delta(anchor: Curve, test: Curve) -> float:
    """Mean change of the rate at equal quality, as a share: -0.1 is a tenth saved."""
    return float(np.expm1(_delta(anchor.over_quality, test.over_quality)))


def quality_delta(anchor: Curve, test: Curve) -> float:
    """Mean change of quality at equal rate, in units of the quality."""
    return _delta(anchor.over_rate, test.over_rate)


def mean_quality(curve: Curve, low: float, high: float) -> float:
    """The area under the curve between two logarithms of rates, over their distance."""
    fit = curve.over_rate[0]
    return float("nan") if fit is None or low >= high else fit.integrate(low, high) / (high - low)


def common(one: Floats, other: Floats) -> float:
    """What two ranges (2,) have in common, as a share of the narrower one, in [0, 1]."""
    narrower = min(one[1] - one[0], other[1] - other[0])
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return float(max(shared, 0.0) / narrower) if narrower > 0 else 0.0


def _delta(anchor: tuple[Any, Floats], test: tuple[Any, Floats]) -> float:
    """The mean difference of two functions over what their ranges have in common; NaN for none."""
    (theirs, here), (ours, there) = anchor, test
    low, high = max(here[0], there[0]), min(here[1], there[1])
    if theirs is None or ours is None or low >= high:
        return float("nan")
    return float((ours.integrate(low, high) - theirs.integrate(low, high)) / (high - low))
