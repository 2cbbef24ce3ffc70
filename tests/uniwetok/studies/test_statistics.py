"""Intervals on known numbers."""

from __future__ import annotations

import math

import pytest

from uniwetok.studies.claims import holm, interval


def test_students_interval_of_three() -> None:
    ours = interval([1.0, 2.0, 3.0])
    assert ours.mean == 2
    # t of 2 degrees of freedom, 97.5 %: 4.302653; standard error 1 / sqrt(3).
    assert ours.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    # With two degrees of freedom the distribution has a closed form; here t = 2 sqrt(3).
    t = 2 * math.sqrt(3)
    assert ours.p == pytest.approx(1 - t / math.sqrt(2 + t**2))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.0, 1.1, 0.9], "reproduced"),
        ([-1.0, -1.1, -0.9], "opposite"),
        ([1.0, 2.0, 3.0], "same sign"),
        ([-1.0, -2.0, -3.0], "opposite sign"),
        ([5.0], "same sign"),
        ([0.0, 0.0, 0.0], "opposite sign"),
    ],
)
def test_verdicts(values: list[float], verdict: str) -> None:
    assert interval(values).verdict == verdict


def test_one_seed_has_no_interval() -> None:
    assert interval([3.0]).half == math.inf
    assert interval([3.0]).p == 1


@pytest.mark.parametrize(
    ("p_values", "fallen"),
    [
        ([0.04, 0.01, 0.03], {1}),  # 0.03 is above 0.05 / 2: 0.04 falls no more.
        ([0.05, 0.01, 0.025], {0, 1, 2}),
        ([0.02, 0.02, 0.02], set()),
        ([], set()),
    ],
)
def test_holm_stops_at_the_first_that_stands(p_values: list[float], fallen: set[int]) -> None:
    assert holm(p_values) == fallen


def test_equal_values_leave_no_doubt_and_zeros_all() -> None:
    assert interval([1.0, 1.0]).p == 0
    assert interval([0.0, 0.0]).p == 1
