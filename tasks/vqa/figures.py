"""lmms-eval's figures of its tasks: which are means of scores, and intervals of the others."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import math
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from lmms_eval.api.registry import get_aggregation, get_metric_aggregation
from loguru import logger

from harness.interfaces.errors import first_line
from harness.interfaces.types import Status
from harness.metrics.stats import RESAMPLES, percentiles
from tasks.vqa.answers import Row, score_of
from tasks.vqa.lmms_code import Function, reached
from tasks.vqa.lmms_files import TaskFile

_FAILURE = "uwt_eval_failure"
"""In place of figures: why a scorer broke down on one reply."""
_PATIENCE = 60.0
"""Seconds that all resamples of one figure may take."""
_EXACT = 1e-12

Aggregate = Callable[..., Any]


def guarded(score: Callable[..., Any]) -> Callable[..., Any]:
    """A task's scorer, of which one reply that it breaks down on does not end the suite."""

    @functools.wraps(score)
    def scored(*args: Any, **kwargs: Any) -> Any:
        try:
            return score(*args, **kwargs)
        except Exception as error:
            traceback.print_exc()
            return {_FAILURE: first_line(error)}

    return scored


def logged_of(file: TaskFile, logged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row's fields in what lmms-eval logged of a question, once for every filter."""
    if not logged:
        return {"task": file.name}
    failures = [str(entry[_FAILURE]) for entry in logged if _FAILURE in entry]
    status = Status.JUDGE_ERROR if file.code.keys else Status.PARSE_ERROR
    reason = f"lmms-eval's scorer broke down: {failures[0]}" if failures else ""
    return {
        "task": file.name,
        "target": str(logged[0].get("target", "")),
        "taken": str(next(iter(logged[0].get("filtered_resps") or ()), "")),
        "results": {
            f"{file.name}/{figure.name}": entry[figure.metric]
            for place, entry in enumerate(logged)
            for figure in file.figures
            if figure.place == place and figure.metric in entry
        },
        **({"status": status, "error": reason} if failures else {}),
    }


def storable(value: Any) -> bool:
    """Whether a row's cell is made of texts and numbers alone."""
    if isinstance(value, Mapping):
        return all(map(storable, value.values()))
    if isinstance(value, list | tuple):
        return all(map(storable, value))
    return value is None or isinstance(value, str | int | float)


def figures_of(
    files: Sequence[TaskFile],
    configs: Mapping[str, Mapping[str, Any]],
    rows: Sequence[Row],
    reported: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Every figure of the tasks: 'mean' where it is one of scores, else with its interval.

    Args:
        files: The tasks.
        configs: Their settings with the functions themselves.
        rows: All questions, scored.
        reported: lmms-eval's figures by task.
        seed: Seeds the resampling.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        mine = [row for row in rows if row.task == file.name]
        aggregations = _aggregations(configs[file.name])
        for figure in file.figures:
            name = f"{file.name}/{figure.name}"
            value = reported.get(file.name, {}).get(figure.key)
            if value is None or all(row.results.get(name) is None for row in mine):
                continue
            resampled = _resampled(file, figure.metric, aggregations[figure.metric])
            found[name] = _figure(name, value, mine, aggregations[figure.metric], resampled, seed)
    return found


def figures_of_groups(
    names: Sequence[str], reported: Mapping[str, Mapping[str, Any]], n: int
) -> dict[str, dict[str, Any]]:
    """A group's own figures, 'GROUP/METRIC' or 'GROUP/METRIC/FILTER', as lmms-eval has them."""
    found = {}
    for name in names:
        group, metric, *chosen = name.split("/")
        value = reported.get(group, {}).get(f"{metric},{(chosen or ['none'])[0]}")
        if value is not None:
            found[name] = _given(value, n, "lmms-eval's figure of the group, no interval")
    return found


def _aggregations(config: Mapping[str, Any]) -> dict[str, Aggregate]:
    listed = config.get("metric_list") or [{"metric": "exact_match"}]
    found = {}
    for each in filter(None, listed):
        given = each.get("aggregation") or get_metric_aggregation(each["metric"])
        found[each["metric"]] = get_aggregation(given) if isinstance(given, str) else given
    return found


def _resampled(file: TaskFile, metric: str, aggregate: Aggregate) -> str:
    """Why an aggregation cannot be called again and again; empty where it can."""
    if "args" in inspect.signature(aggregate).parameters:
        return "it writes files"
    listed = file.settings.get("metric_list") or ()
    named = [each.get("aggregation") for each in listed if each and each.get("metric") == metric]
    if reached(frozenset(each for each in named if isinstance(each, Function))).keys:
        return "it asks a judge"
    return ""


def _figure(
    name: str, value: Any, rows: Sequence[Row], aggregate: Aggregate, obstacle: str, seed: int
) -> dict[str, Any]:
    counted = [row for row in rows if row.results.get(name) is not None]
    scores = [score_of(row.results[name]) for row in counted]
    known = [score for score in scores if score is not None]
    number = score_of(value)
    if number is None or not math.isfinite(number):
        return {**_given(None, len(scores), "lmms-eval's figure is no number"), "mean": False}
    if len(known) == len(scores) and _equal(float(np.mean(known)), number):
        halves = [counted[first::2] for first in (0, 1) if not obstacle and len(counted) > 1]
        # Two figures may agree on one set by chance.
        if all(_is_mean(name, half, aggregate) for half in halves):
            return {"mean": True}
    if obstacle:
        return _given(number, len(scores), f"lmms-eval's figure, no interval: {obstacle}")
    clusters: dict[str, list[Any]] = defaultdict(list)
    counted = [row for row in counted if row.status is Status.OK]
    for row in counted:
        clusters[" ".join(row.images) or row.id].append(row.results[name])
    return _bootstrapped(number, list(clusters.values()), len(counted), aggregate, seed)


def _is_mean(name: str, rows: Sequence[Row], aggregate: Aggregate) -> bool:
    scores = [score_of(row.results[name]) for row in rows]
    try:
        with _quiet():
            found = score_of(aggregate([row.results[name] for row in rows]))
    except Exception:
        return False
    return found is not None and _equal(float(np.mean([s for s in scores if s is not None])), found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What aggregations print and log a thousand times is nobody's to read."""
    logger.disable("")
    nowhere = io.StringIO()
    try:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logger.enable("")


def _bootstrapped(
    reported: float, clusters: Sequence[Sequence[Any]], n: int, aggregate: Aggregate, seed: int
) -> dict[str, Any]:
    """The aggregation of replies without failures, over resampled pictures for its interval."""
    places = range(len(clusters))

    def of(chosen: Sequence[int] | np.ndarray) -> float:
        given = aggregate([item for place in chosen for item in clusters[place]])
        number = score_of(given)
        return math.nan if number is None else number

    rng = np.random.default_rng(seed)
    try:
        with _quiet():
            started = time.perf_counter()
            value = of(places)
            if RESAMPLES * (time.perf_counter() - started) > _PATIENCE:
                return _given(value, n, "lmms-eval's figure, no interval: it takes too long")
            drawn = [of(rng.integers(0, len(clusters), len(clusters))) for _ in range(RESAMPLES)]
            again = of(places)
    except Exception as error:
        reason = f"its aggregation cannot be resampled: {first_line(error)}"
        return _given(reported, n, f"lmms-eval's figure, no interval: {reason}")
    if not _equal(value, again):
        return _given(reported, n, "lmms-eval's figure, no interval: it is drawn at random")
    means = np.array(drawn)
    method = f"bootstrap over {len(clusters)} clusters through lmms-eval's aggregation"
    interval = percentiles(means[np.isfinite(means)], method)
    if len(clusters) < 2 or interval.low is None:
        return _given(value, n, "lmms-eval's figure, no interval: too few questions")
    return {**_given(value, n, method), "low": interval.low, "high": interval.high}


def _given(value: Any, n: int, method: str) -> dict[str, Any]:
    number = score_of(value)
    return {"mean": False, "value": number, "low": None, "high": None, "n": n, "method": method}


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_EXACT, abs_tol=_EXACT)
