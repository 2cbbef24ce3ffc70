"""Results of pixels are computed once, until there are too many."""

from __future__ import annotations

import numpy as np

from tasks.shared.remembered import Remembered


def test_pixels_shape_and_what_else_there_is_make_the_difference() -> None:
    calls = []
    known = Remembered[int](10)
    flat = np.arange(6, dtype=np.uint8)

    def asked(pixels: np.ndarray, about: object = None) -> int:
        return known(pixels, lambda: calls.append(about) or len(calls), about)  # type: ignore[func-returns-value]

    assert asked(flat) == asked(flat.copy()) == 1
    assert asked(flat.reshape(2, 3)) == 2
    assert asked(flat, "box") == 3
    assert asked(flat + 1) == 4
    assert len(calls) == 4


def test_it_forgets_when_it_is_full() -> None:
    known = Remembered[int](2)
    for level in range(5):
        assert known(np.full(3, level, np.uint8), lambda: 7) == 7
    assert len(known._known) <= 2
