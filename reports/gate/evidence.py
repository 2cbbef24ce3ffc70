"""How surely a figure changed between a baseline and a run: paired by sample wherever it can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from harness.commands.console import label
from harness.interfaces.errors import counted
from harness.interfaces.types import MetricValue
from reports.gate.baseline import contributions_of
from reports.records import Loaded, higher_is_better

if TYPE_CHECKING:
    from reports.paired import PairedDifference, Pairs
    from reports.samples import Contributions

_TAIL = 0.025
"""Probability beyond either end of a 95% interval."""
_INTERVAL_Z = NormalDist().inv_cdf(0.975)
"""Half width of a 95% interval in standard deviations."""
POWER_Z = NormalDist().inv_cdf(0.8)
"""What a power of 80% adds to the threshold of a test, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Change:
    """Run - baseline of one metric that both have, and what it rests on."""

    baseline: float
    run: float
    difference: float
    """Over the pairs, or of the two records where there are none."""
    tolerance: float
    """How far the change may go to the worse side before its 95% interval excludes none; >= 0."""
    deviation: float
    """Standard deviation of the change by chance; 0 where it is not known."""
    better: bool | None
    rests_on: str
    unknown: str = ""
    """Why chance might have done it for all that is known; empty where an interval tells."""


@dataclass(frozen=True, slots=True)
class Infinite:
    """Pairs with infinite values, such as the PSNR of identical pictures: in no mean."""

    n_fell: int
    """Those that became smaller, with an infinite value on one side."""
    n_rose: int
    n_same: int
    """Those infinite on both sides."""
    only: bool
    """Whether no pair is finite on both sides."""

    def lost(self, better: bool | None) -> int:
        """Pairs that became worse beyond all measure."""
        return self.n_fell if better else self.n_rose

    def surely(self, better: bool | None) -> bool:
        """Whether so many of them lost by chance in fewer than 2.5% of cases: a sign test."""
        from scipy.stats import binomtest

        lost, n = self.lost(better), self.n_fell + self.n_rose
        return bool(binomtest(lost, n, alternative="greater").pvalue < _TAIL) if n else False

    @property
    def text(self) -> str:
        """How many, in words."""
        return (
            f"infinite on one side: {counted(self.n_fell, 'sample')} fell, {self.n_rose:,} rose"
            if self.n_fell + self.n_rose
            else f"infinite on both sides for {counted(self.n_same, 'sample')}"
        )


def changes(
    run: Loaded, baseline: Loaded, metrics: Sequence[str]
) -> tuple[dict[str, Change], dict[str, Infinite]]:
    """The change of each metric that has a value on both sides, and infinite pairs of any metric.

    Raises:
        UserError: The values a sample of either side are damaged.
    """
    sides = {
        name: contributions_of(each, metrics)
        for name, each in (("baseline", baseline), ("run", run))
    }
    pairs = None
    if sides["baseline"] is not None and sides["run"] is not None:
        from reports.paired import pair

        pairs = pair(sides["baseline"], sides["run"])
    paired = {} if pairs is None else pairs.differences(baseline.record.seed)
    infinite = {
        name: Infinite(each.n_fell_infinite, each.n_rose_infinite, each.n_infinite, each.n == 0)
        for name, each in paired.items()
        if each.n_fell_infinite + each.n_rose_infinite + each.n_infinite
    }
    found = {}
    for metric in metrics:
        new, old = (each.record.metrics.get(metric) for each in (run, baseline))
        if new is None or old is None or new.value is None or old.value is None:
            continue
        better = higher_is_better(metric, (run.record, baseline.record))
        each = paired.get(metric)
        if pairs is None or each is None or each.ci_low is None:
            whole = _unpaired(new, old, better, _why_unpaired(metric, sides, each))
            if each is not None and each.units == 1 and each.difference:
                whole = replace(whole, unknown="one sample or cluster alone has no interval")
            found[metric] = whole
        else:
            found[metric] = _paired(metric, new.value, old.value, each, pairs, better)
    return found, infinite


def _why_unpaired(
    metric: str, sides: dict[str, Contributions | None], each: PairedDifference | None
) -> str:
    if each is not None:
        return f"{counted(each.n, 'pair')} with a value on both sides"
    given = [side for side in sides.values() if side is not None]
    if given and not any(metric in side.values for side in given):
        return "a figure of the whole set"
    if sides["baseline"] is None:
        return "the baseline has no values of single samples, --update-baseline keeps them"
    if sides["run"] is None:
        return "the run has no values of single samples, its directory has them"
    return "no sample with a value in both"


def _paired(
    metric: str,
    new: float,
    old: float,
    each: PairedDifference,
    pairs: Pairs,
    better: bool | None,
) -> Change:
    if each.ci_low is None or each.ci_high is None:
        raise AssertionError("asked before")
    # The interval lies wholly on the worse side where the change is farther from 0 than the
    # interval's better end is from the change.
    reach = each.ci_high - each.difference if better else each.difference - each.ci_low
    rests = f"paired over {counted(each.n, 'sample')}"
    if pairs.clusters is not None:
        rests += f" in {counted(len(set(pairs.clusters.tolist())), 'cluster')}"
    if each.n_left_out:
        rests += f", {each.n_left_out} left out without a finite value"
    if each.infinite:
        rests += f"; {each.infinite}"
    if each.warning:
        rests += f"; {each.warning}"
    return Change(
        old,
        new,
        each.difference,
        max(reach, _least_shown(metric)),
        (each.ci_high - each.ci_low) / 2 / _INTERVAL_Z,
        better,
        rests,
    )


def _least_shown(metric: str) -> float:
    """Half of the last digit that tables print.

    Another processor or build of torch moves all samples alike in a far digit: surely, and by
    nothing that matters.
    """
    form = label(metric)
    return 0.5 * 10.0 ** -(form.digits + (2 if form.percent else 0))


def _unpaired(new: MetricValue, old: MetricValue, better: bool | None, reason: str) -> Change:
    if new.value is None or old.value is None:
        raise AssertionError("asked before")
    halves = [
        (cell.ci_high - cell.ci_low) / 2
        for cell in (new, old)
        if cell.ci_low is not None and cell.ci_high is not None
    ]
    # Independent errors add as squares. Runs over the same samples mostly rise and fall together,
    # so that this is too wide rather than too narrow.
    tolerance = math.hypot(*halves)
    rests = f"unpaired: {reason}"
    if not halves:
        rests += ", no interval: it must not get worse"
    change = new.value - old.value
    return Change(old.value, new.value, change, tolerance, tolerance / _INTERVAL_Z, better, rests)
