"""Intervals on known numbers."""

from __future__ import annotations

import math

import pytest

from uniwetok.studies.claims import interval


def test_students_interval_of_three() -> None:
    ours = interval([1.0, 2.0, 3.0])
    assert ours.mean == 2
    # t of 2 degrees of freedom, 97.5 %: 4.302653; standard error 1 / sqrt(3).
    assert ours.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


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
