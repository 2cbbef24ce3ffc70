"""The highest of a codec's settings whose file fits a budget, found with few files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Sizes = Callable[[int], float]
"""Bytes of the file at the setting of a number; they mostly rise with it."""

_GUESSES = 6
"""Files after which the gap between what fits and what does not is halved, not guessed at."""
_NEAR = 2
"""A step so short is not worth another sketch."""


@dataclass(frozen=True)
class Rise:
    """How sizes rise from one setting to the next, and how far they are known to fall back."""

    growth: float
    """About what the logarithm of a size gains; it only says where to look first."""
    ahead: int
    """Settings above one that fits which must not fit."""
    far: float
    """Share of the budget by which a file is so much too large that none above it is looked at."""


def highest_that_fits(
    settings: int,
    budget: int,
    size: Sizes,
    sketch: Sizes,
    rise: Callable[[int], Rise],
    start: int,
) -> int | None:
    """The highest setting whose file takes at most `budget` bytes; None where none was found.

    What is returned fits. The files of the `ahead` settings above it were made, up to the first
    that is too large by `far`, and none fits. So it is the highest of all, unless sizes fall back
    below the budget after more settings, or from higher, than that.

    Args:
        settings: How many there are, numbered from 0.
        budget: In bytes.
        size: Of the file itself.
        sketch: What the file will take, by one that is quicker to make.
        rise: How sizes rise at a setting, -1 for below all.
        start: Where sketches begin.
    """
    if budget < 1:
        return None
    at = _sketched(settings, budget, sketch, rise, start)
    made: dict[int, float] = {}
    while True:
        made[at] = size(at)
        best, over = _bracket(made, budget, settings)
        if over - best > 1:
            halve = len(made) >= _GUESSES
            at = (best + over) // 2 if halve else _guess(made, budget, best, over, rise)
            continue
        beyond = rise(best)
        for at in range(over, min(over + beyond.ahead, settings)):
            if at not in made:
                break
            if made[at] > budget * (1 + beyond.far):
                return best if best >= 0 else None
        else:
            return best if best >= 0 else None


def _sketched(
    settings: int, budget: int, sketch: Sizes, rise: Callable[[int], Rise], start: int
) -> int:
    """About where files stop fitting, by sketches."""
    at, drawn = start, dict[int, float]()
    while len(drawn) < _GUESSES:
        drawn[at] = sketch(at)
        fits, over = _bracket(drawn, budget, settings)
        if over - fits == 1:
            return max(fits, 0)
        before, at = at, _guess(drawn, budget, fits, over, rise)
        if abs(at - before) <= _NEAR:
            break
    return at


def _bracket(sizes: Mapping[int, float], budget: int, settings: int) -> tuple[int, int]:
    """The highest setting known to fit, -1 for none, and the next that is known not to."""
    fits = max((place for place, took in sizes.items() if took <= budget), default=-1)
    return fits, min((place for place in sizes if place > fits), default=settings)


def _guess(
    sizes: Mapping[int, float], budget: int, fits: int, over: int, rise: Callable[[int], Rise]
) -> int:
    """The setting strictly between two where a straight line of logarithms crosses the budget.

    The line goes through both where their sizes are known; otherwise it is as steep as sizes rise.
    """
    room = {place: math.log(budget / sizes[place]) for place in (fits, over) if place in sizes}
    if len(room) == 2:
        crossing = fits + (over - fits) * room[fits] / (room[fits] - room[over])
    else:
        place = next(iter(room))
        crossing = place + room[place] / rise(place).growth
    return min(max(math.floor(crossing), fits + 1), over - 1)
