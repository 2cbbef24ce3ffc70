"""Interleaved rounds: every variant once a round, ratios within a round, medians over rounds."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Outputs = Sequence[NDArray[Any]]
Run = Callable[[], Outputs]


@dataclass(frozen=True)
class Claim:
    """One line of the table: how many times as fast one variant is as another."""

    label: str
    ours: str
    peer: str
    goal: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Variants that compute the same outputs."""

    unit: str
    """What the time is divided by, such as `image`."""
    items: float
    variants: Mapping[str, Run]
    claims: Sequence[Claim]
    truth: Run | None = None
    """Outputs in float64 or better, or those of the first few items (first axis)."""
    absolute: bool = False
    """Errors are largest absolute differences."""
    most_rounds: int | None = None
    """For slow rows, which are not warmed up either."""


@dataclass(frozen=True)
class Line:
    """A claim, measured; times in milliseconds."""

    claim: Claim
    unit: str
    rounds: int
    ours: float
    peer: float
    ratio: float
    between: float | None
    """Error of ours against the peer; None where their outputs are not comparable."""
    ours_off: float | None
    """Error of ours against the truth."""
    peer_off: float | None
    absolute: bool

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        return None if self.claim.goal is None else self.ratio >= self.claim.goal


def measure(comparison: Comparison, rounds: int, device: str) -> list[Line]:
    """Time the variants in turn and compare what they returned."""
    names = list(comparison.variants)
    if comparison.most_rounds is None:
        for run in comparison.variants.values():
            run()
    else:
        rounds = min(rounds, comparison.most_rounds)
    times: dict[str, list[float]] = {name: [] for name in names}
    outputs: dict[str, Outputs] = {}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            before = clock(device)
            outputs[name] = comparison.variants[name]()
            times[name].append(1000 * (clock(device) - before) / comparison.items)
    return lines(comparison, times, outputs)


def lines(
    comparison: Comparison, times: Mapping[str, Sequence[float]], outputs: Mapping[str, Outputs]
) -> list[Line]:
    """Compare what variants took in each round, in milliseconds an item, and what they returned."""
    truth = comparison.truth() if comparison.truth else None
    return [_line(comparison, claim, times, outputs, truth) for claim in comparison.claims]


def clock(device: str) -> float:
    """CPU seconds of this process and its finished children; on a GPU wall time, synchronised."""
    if device == "cpu":
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime
    torch.cuda.synchronize()
    return time.perf_counter()


def _line(
    comparison: Comparison,
    claim: Claim,
    times: Mapping[str, Sequence[float]],
    outputs: Mapping[str, Outputs],
    truth: Outputs | None,
) -> Line:
    ours, peer = times[claim.ours], times[claim.peer]

    def error(values: Outputs, expected: Outputs | None) -> float | None:
        if expected is None or len(values) != len(expected):
            return None
        return max(
            _error(value, exact, comparison.absolute)
            for value, exact in zip(values, expected, strict=True)
        )

    return Line(
        claim=claim,
        unit=comparison.unit,
        rounds=len(ours),
        ours=statistics.median(ours),
        peer=statistics.median(peer),
        ratio=statistics.median(b / a for a, b in zip(ours, peer, strict=True)),
        between=error(outputs[claim.ours], outputs[claim.peer]),
        ours_off=error(outputs[claim.ours], truth),
        peer_off=error(outputs[claim.peer], truth),
        absolute=comparison.absolute,
    )


def _error(values: NDArray[Any], expected: NDArray[Any], absolute: bool) -> float:
    exact = np.asarray(expected, dtype=np.longdouble)
    difference = np.asarray(values, dtype=np.longdouble)[: len(exact)] - exact
    if absolute:
        return float(np.abs(difference).max())
    return float(np.sqrt(np.sum(difference**2) / np.sum(exact**2)))
