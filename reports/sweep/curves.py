"""Curves of quality over rate from runs, and what each saves against an anchor."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.interfaces.errors import UserError, counted, did_you_mean
from harness.interfaces.registry import METRICS
from harness.metrics.stats import NO_INTERVAL, Interval, percentiles
from reports.comparability import differences, protocol_settings
from reports.paired import FEW, draw_sums
from reports.records import Loaded, higher_is_better, metric_names, why_missing
from reports.samples import Contributions, contributions, read_samples
from reports.sweep.bjontegaard import (
    LEAST_POINTS,
    Curve,
    Floats,
    Method,
    common,
    mean_quality,
    quality_delta,
    rate_delta,
)
from reports.tables.codes import Codes

RATE = "bpp"
LEAST_COMMON = 0.25
"""Share of the narrower of two ranges below which their overlap stands for neither curve."""
_NUMBER = re.compile(r"[+-]?\d[\d.]*(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Family:
    """Results of one model at its rates, the lowest first; a point where there is one."""

    name: str
    runs: tuple[Loaded, ...]

    @property
    def rates(self) -> list[float]:
        """Bits per pixel."""
        return [run.record.value(RATE) or math.nan for run in self.runs]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a curve with its 95% interval, or why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """What one curve saves against the anchor in one metric."""

    metric: str
    family: str
    rate: Figure
    """Mean change of the rate at equal quality, as a share; negative saves bits."""
    quality: Figure
    """Mean change of the metric at equal rate, in its own units."""
    area: Figure
    """Mean of the metric over the logarithm of the rates that all curves have in common."""
    common: tuple[float, float]
    """Shares of the narrower range that both have in common: of qualities, and of rates."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sweep:
    """All that is known of the curves."""

    families: tuple[Family, ...]
    anchor: str
    method: Method
    metrics: dict[str, bool]
    """Metrics of quality, and whether higher is better."""
    deltas: tuple[Delta, ...]
    range: tuple[float, float] | None
    """The bits per pixel that all curves have in common."""
    images: int
    left_out: dict[str, str] = field(default_factory=dict)
    """Why models, and metrics, are in no curve."""


def family_of(model: str) -> str:
    """What a model is called but for its rate: its argument and numeric options."""
    head, _, query = model.partition("?")
    kept = [each for each in query.split("&") if not _NUMBER.fullmatch(each.partition("=")[2])]
    return head.partition(":")[0] + ("?" + "&".join(kept) if query and any(kept) else "")


def of_task(runs: Sequence[Loaded], task: str | None) -> list[Loaded]:
    """The runs of a task; all of them where none is named and they are of one.

    Raises:
        UserError: No run is of the task, or none is named and they are of several.
    """
    # Tasks with rates come first, for one of them is the example.
    rated = sorted(runs, key=lambda run: not run.record.value(RATE))
    tasks = list(dict.fromkeys(run.record.task for run in rated))
    if task is None and len(tasks) > 1:
        raise UserError(
            f"--runs holds runs of {', '.join(tasks)}: name the TASK whose curves to draw, as "
            f"`uwt-eval sweep {tasks[0]} --runs …`"
        )
    if task is not None and task not in tasks:
        raise UserError(f"--runs holds no run of {task}, {did_you_mean(task, tasks)}")
    return [run for run in runs if task in (None, run.record.task)]


def make_sweep(
    runs: Sequence[Loaded],
    *,
    anchor: str | None = None,
    metrics: Sequence[str] | None = None,
    method: Method = Method.PCHIP,
) -> Sweep:
    """Put runs into curves and compare these with the anchor, the first where none is named.

    Raises:
        UserError: Runs that do not compare, no model at several rates, or an unknown anchor or
            metric.
    """
    for run in runs[1:]:
        if apart := differences(runs[0], run):
            both = f"{runs[0].record.run_id} and {run.record.run_id}"
            raise UserError(
                f"{both} make no curves together: {'; '.join(apart)}; give the runs of one "
                "protocol and data set"
            )
    left_out = {each.record.model: why for each in runs if (why := _no_rate(each))}
    families = _families([run for run in runs if not _no_rate(run)])
    curves = [each for each in families if len(each.runs) >= LEAST_POINTS[method]]
    if not curves:
        least = f"{LEAST_POINTS[method]} or more rates of one model"
        had = ", ".join(f"{each.name} has {len(each.runs)}" for each in families)
        had = had or "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise UserError(
            f"a curve ({method}) takes {least}: give runs of more rates, as of "
            f"'webp:{{512,1024,2048,4096}}'; {had}"
        )
    names = [each.name for each in curves]
    if anchor is not None and anchor not in names:
        raise UserError(f"--anchor {anchor}: no curve of that name, {did_you_mean(anchor, names)}")
    first = next(each for each in curves if anchor in (None, each.name))
    better, without = _qualities(curves, metrics)
    means, images = _means(curves, list(better))
    deltas, span = _deltas(curves, first, better, means, method)
    left_out |= without | {
        each.name: f"{counted(len(each.runs), 'rate')}, {method} takes {LEAST_POINTS[method]}"
        for each in families
        if 1 < len(each.runs) < LEAST_POINTS[method]
    }
    return Sweep(tuple(families), first.name, method, better, tuple(deltas), span, images, left_out)


def _no_rate(run: Loaded) -> str:
    if dtype := Codes.of(run.record).continuous:
        return f"continuous latents, whose rate is that of the {dtype} they are stored in"
    rate = run.record.value(RATE)
    return "" if rate else f"no rate: {why_missing(run.record, RATE) or '0 bits per pixel'}"


def _families(runs: Iterable[Loaded]) -> list[Family]:
    """Runs of one name at different rates are a curve; what has one rate twice stands apart."""
    by_name: dict[str, list[Loaded]] = {}
    for run in runs:
        by_name.setdefault(family_of(run.record.model), []).append(run)
    found = []
    for name, own in by_name.items():
        family = Family(name, tuple(sorted(own, key=lambda run: run.record.value(RATE) or 0)))
        curve = len(own) > 1 and np.diff(family.rates).min() > 0
        found += [family] if curve else [Family(run.record.model, (run,)) for run in own]
    return found


def _qualities(
    curves: Sequence[Family], asked: Sequence[str] | None
) -> tuple[dict[str, bool], dict[str, str]]:
    """Metrics that all runs of the curves have, with their directions; and why others have none.

    Where none is asked for, those that are observed of pictures: rates and codebooks are no
    quality.
    """
    records = [run.record for each in curves for run in each.runs]
    found: dict[str, bool] = {}
    left_out: dict[str, str] = {}
    for metric in asked or metric_names(records):
        of_pictures = metric not in METRICS or bool(METRICS.get(metric).needs)
        if metric == RATE or not (asked or of_pictures):
            continue
        better = higher_is_better(metric, records)
        whys = (why for record in records if (why := why_missing(record, metric)))
        if why := next(whys, "" if better is not None else "it has no direction"):
            left_out[metric] = why
        elif better is not None:
            found[metric] = better
    if not found:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise UserError(f"no metric of quality has a value in every run: {reasons or '--metrics'}")
    return found, left_out


Means = dict[tuple[str, str], Floats]
"""By family and metric, (draws, points) with the means of all images in the first row."""


def _means(curves: Sequence[Family], metrics: Sequence[str]) -> tuple[Means, int]:
    """Means of every metric and rate over the images, and over each of the resamples.

    All runs see the same draws of images, at every rate: what is hard in an image is so in all
    curves, and cancels in their differences. A figure of the whole set has its first row alone.
    """
    runs = [run for each in curves for run in each.runs]
    parts = [
        contributions(read_samples(run), [RATE, *metrics], protocol_settings(run) or {})
        for run in runs
    ]
    shared = set.intersection(*(set(part.ids) for part in parts))
    ids = [name for name in parts[0].ids if name in shared]
    columns: list[Floats] = []
    places: dict[tuple[int, str], int] = {}
    for at, part in enumerate(parts):
        rows = {name: row for row, name in enumerate(part.ids)}
        chosen = np.array([rows[name] for name in ids], np.int64)
        for metric in part.values:
            places[at, metric] = len(columns)
            columns += _sums(part, metric, chosen)
    table = np.stack(columns, axis=1) if columns else np.empty((len(ids), 0))
    drawn = [draw_sums(table, runs[0].record.seed)] if len(ids) >= FEW else []
    sums = np.concatenate([table.sum(0, keepdims=True), *drawn])
    means: Means = {}
    at = 0
    for family in curves:
        points = range(at, at + len(family.runs))
        at += len(family.runs)
        for metric in (RATE, *metrics):
            if all((point, metric) in places for point in points):
                means[family.name, metric] = np.stack(
                    [_mean(sums, places[point, metric], parts[point], metric) for point in points],
                    axis=1,
                )
            else:
                values = [run.record.value(metric) for run in family.runs]
                means[family.name, metric] = np.array([values], np.float64)
    return means, len(ids)


def _sums(part: Contributions, metric: str, chosen: np.ndarray) -> list[Floats]:
    """What each image adds to the numerator and to the denominator of a mean."""
    values, weights = part.values[metric][chosen], part.weights[metric][chosen]
    if metric in part.pooled:  # A PSNR of the mean error is a mean of errors.
        values = 10 ** (-values / 10)
    usable = np.isfinite(values)
    return [np.where(usable, values, 0.0) * weights, np.where(usable, weights, 0.0)]


def _mean(sums: Floats, place: int, part: Contributions, metric: str) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = sums[:, place] / sums[:, place + 1]
        return -10 * np.log10(mean) if metric in part.pooled else mean


def _deltas(
    curves: Sequence[Family],
    anchor: Family,
    better: dict[str, bool],
    means: Means,
    method: Method,
) -> tuple[list[Delta], tuple[float, float] | None]:
    rates = {each.name: np.log(means[each.name, RATE]) for each in curves}
    low = max(float(each[0, 0]) for each in rates.values())
    high = min(float(each[0, -1]) for each in rates.values())
    found = []
    for metric, higher in better.items():
        sign = 1 if higher else -1
        drawn = {
            each.name: [
                Curve(rate, sign * quality, method)
                for rate, quality in zip(rates[each.name], means[each.name, metric], strict=False)
            ]
            for each in curves
        }
        for each in curves:
            ours, theirs = drawn[each.name], drawn[anchor.name]
            shares = (
                common(theirs[0].over_quality[1], ours[0].over_quality[1]),
                common(theirs[0].over_rate[1], ours[0].over_rate[1]),
            )
            rate = quality = Figure(None, why="the anchor")
            if each is not anchor:
                rate = _figure(rate_delta, theirs, ours, "qualities", shares[0])
                quality = _signed(_figure(quality_delta, theirs, ours, "rates", shares[1]), sign)
            area = Figure(None, why="the curves have no rate in common")
            if low < high:
                area = _signed(_of([mean_quality(curve, low, high) for curve in ours]), sign)
            notes = _notes(each, ours[0])
            found.append(Delta(metric, each.name, rate, quality, area, shares, notes))
    return found, (math.exp(low), math.exp(high)) if low < high else None


def _figure(
    delta: Callable[[Curve, Curve], float],
    theirs: Sequence[Curve],
    ours: Sequence[Curve],
    what: str,
    share: float,
) -> Figure:
    if share < LEAST_COMMON:
        have = f"{share:.0%} of the narrower range" if share else "nothing"
        return Figure(None, why=f"of {what} the curves have {have} in common")
    return _of([delta(a, b) for a, b in zip(theirs, ours, strict=False)])


def _of(values: Sequence[float]) -> Figure:
    """The figure of all images, which stands first, and what it is over the draws."""
    if not math.isfinite(values[0]):
        return Figure(None, why="the curve has too few points that rise in quality")
    interval: Interval = percentiles(np.array(values[1:]), "") if values[1:] else NO_INTERVAL
    return Figure(float(values[0]), interval.low, interval.high)


def _signed(figure: Figure, sign: int) -> Figure:
    if sign > 0 or figure.value is None:
        return figure
    low, high = figure.low, figure.high
    ends = (None, None) if low is None or high is None else (-high, -low)
    return Figure(-figure.value, *ends)


def _notes(family: Family, curve: Curve) -> tuple[str, ...]:
    worse = [rate for rate, kept in zip(family.rates, curve.front, strict=True) if not kept]
    if not worse:
        return ()
    rates = ", ".join(f"{rate:.4g}" for rate in worse)
    return (f"at {rates} bpp no better than at a lower rate: left out of BD-rate",)
