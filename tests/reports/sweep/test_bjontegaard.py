"""Deltas of curves: against the package `bjontegaard`, against the formula, and where none is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.sweep.bjontegaard import (
    Curve,
    Method,
    common,
    mean_quality,
    quality_delta,
    rate_delta,
)

ANCHOR = ([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851])
TEST = ([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987])
"""The example of the package, the highest rate first."""


def curve(rates: list[float], qualities: list[float], method: Method = Method.PCHIP) -> Curve:
    order = np.argsort(rates)
    return Curve(np.log(np.array(rates)[order]), np.array(qualities)[order], method)


@pytest.mark.parity
@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("shift", [0.0, 1.5, -2.5])
def test_deltas_are_those_of_the_package(method: Method, shift: float) -> None:
    import bjontegaard

    qualities = [each + shift for each in TEST[1]]
    anchor, test = curve(*ANCHOR, method), curve(TEST[0], qualities, method)
    theirs = {"method": method.value, "min_overlap": 0}
    rate = bjontegaard.bd_rate(*ANCHOR, TEST[0], qualities, **theirs)
    assert 100 * rate_delta(anchor, test) == pytest.approx(rate, rel=1e-9)
    quality = bjontegaard.bd_psnr(*ANCHOR, TEST[0], qualities, **theirs)
    assert quality_delta(anchor, test) == pytest.approx(quality, rel=1e-9)


def test_the_formula_by_hand() -> None:
    """Of straight lines over log rate: half the bits at each quality, 3 more at each rate."""
    anchor = curve([1, 2, 4, 8], [10, 13, 16, 19])
    test = curve([0.5, 1, 2, 4], [10, 13, 16, 19])
    assert rate_delta(anchor, test) == pytest.approx(-0.5)
    assert rate_delta(test, anchor) == pytest.approx(1.0)
    assert quality_delta(anchor, test) == pytest.approx(3.0)
    assert mean_quality(anchor, math.log(2), math.log(8)) == pytest.approx(16.0)


def test_one_cubic_takes_four_points() -> None:
    three = curve([1, 2, 4], [10, 13, 16], Method.CUBIC)
    four = curve([1, 2, 4, 8], [10, 13, 16, 19], Method.CUBIC)
    assert math.isnan(quality_delta(three, four))
    assert quality_delta(four, four) == pytest.approx(0.0, abs=1e-9)


def test_a_point_no_better_than_a_cheaper_one_moves_no_rate() -> None:
    anchor = curve([1, 2, 4, 8], [10, 13, 16, 19])
    bent = curve([1, 2, 3, 4, 8], [10, 13, 12.5, 16, 19])
    assert bent.front.tolist() == [True, True, False, True, True]
    assert rate_delta(anchor, bent) == pytest.approx(0.0, abs=1e-12)
    assert quality_delta(anchor, bent) < 0, "quality at a rate is what it is"


def test_nothing_is_extrapolated() -> None:
    low, high = curve([1, 2], [10, 13]), curve([4, 8], [16, 19])
    assert math.isnan(rate_delta(low, high))
    assert math.isnan(quality_delta(low, high))
    assert math.isnan(mean_quality(low, math.log(4), math.log(2)))
    assert common(np.array([0.0, 4.0]), np.array([3.0, 5.0])) == 0.5
    assert common(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 0.0
