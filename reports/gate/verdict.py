"""What a gate decides: each rule on each run, the exit code of them all, and its baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.interfaces.errors import ExitCode, UserError
from harness.interfaces.registry import did_you_mean
from harness.interfaces.types import MetricValue, ResultRecord, RunStatus
from reports.comparability import differences
from reports.files import write_text
from reports.gate.rules import Rule, unique
from reports.records import Loaded, load_records, metric_names, why_missing


class Outcome(StrEnum):
    """What became of one rule on one run."""

    PASS = "pass"
    REGRESSION = "regression"
    INCOMPLETE = "incomplete"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True)
class Check:
    """One rule on one run, or one reason why no rule could be tried."""

    run: ResultRecord
    rule: str
    outcome: Outcome
    metric: str = ""
    baseline: float | None = None
    value: float | None = None
    change: float | None = None
    bound: float | None = None
    """The bound on the change, in the metric's unit."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks of a gate."""

    checks: list[Check]
    unknown: list[ResultRecord]
    """Runs that the baseline does not know; nothing was checked of them."""

    @property
    def exit_code(self) -> ExitCode:
        """Not comparable before regression before incomplete before done."""
        outcomes = {check.outcome for check in self.checks}
        if Outcome.NOT_COMPARABLE in outcomes:
            return ExitCode.USAGE
        if Outcome.REGRESSION in outcomes:
            return ExitCode.REGRESSION
        return ExitCode.INCOMPLETE if Outcome.INCOMPLETE in outcomes else ExitCode.DONE

    @property
    def title(self) -> str:
        """The verdict in two words."""
        return {
            ExitCode.DONE: "gate passed",
            ExitCode.REGRESSION: "gate failed",
            ExitCode.USAGE: "not comparable",
            ExitCode.INCOMPLETE: "gate incomplete",
        }[self.exit_code]


def key_of(record: ResultRecord) -> tuple[str, str, str, str, int]:
    """What a run and its baseline have in common where there are several of each."""
    return record.task, record.model, record.protocol, record.dataset, record.seed


def judge(runs: Sequence[Loaded], baselines: Sequence[Loaded], rules: Sequence[Rule]) -> Verdict:
    """Judge runs by rules; without rules every metric of the baseline within its interval.

    One run and one baseline belong together whatever their models; several are matched by task,
    model, protocol, dataset and seed. A baseline without its run is incomplete.

    Raises:
        UserError: A rule names a metric that no record has, or nothing matches.
    """
    known = metric_names([loaded.record for loaded in (*runs, *baselines)])
    for rule in rules:
        if rule.metric not in known:
            raise UserError(
                f"rule {rule.text!r}: neither run nor baseline has {rule.metric!r}, "
                f"{did_you_mean(rule.metric, known)}"
            )
    if len(runs) == len(baselines) == 1:
        return Verdict(_judge_one(runs[0], baselines[0], rules), [])
    by_key = _by_key(runs)
    wanted = _by_key(baselines)
    checks: list[Check] = []
    for key, baseline in wanted.items():
        run = by_key.get(key)
        if run is None:
            detail = "the baseline's run is not among those given"
            checks.append(Check(baseline.record, "run", Outcome.INCOMPLETE, detail=detail))
        else:
            checks += _judge_one(run, baseline, rules)
    unknown = [run.record for key, run in by_key.items() if key not in wanted]
    if len(unknown) == len(by_key):
        raise UserError(
            f"no run has the task, model, protocol, dataset and seed of a baseline; "
            f"first run: {_name(unknown[0])}; first baseline: {_name(baselines[0].record)}"
        )
    return Verdict(checks, unknown)


def _name(record: ResultRecord) -> str:
    return ", ".join(map(str, key_of(record)))


def _by_key(records: Sequence[Loaded]) -> dict[tuple[str, str, str, str, int], Loaded]:
    found: dict[tuple[str, str, str, str, int], Loaded] = {}
    for loaded in records:
        twin = found.setdefault(key_of(loaded.record), loaded)
        if twin is not loaded:
            raise UserError(
                f"{twin.record.run_id} and {loaded.record.run_id} have one task, model, protocol, "
                "dataset and seed: give one of them"
            )
    return found


def _judge_one(run: Loaded, baseline: Loaded, rules: Sequence[Rule]) -> list[Check]:
    record = run.record
    if differing := differences(run, baseline):
        return [
            Check(record, "comparable", Outcome.NOT_COMPARABLE, detail=line) for line in differing
        ]
    checks = [
        Check(
            record,
            "complete",
            Outcome.INCOMPLETE,
            detail=f"{each.n_failed} of {each.n} samples of the {name} failed",
        )
        for name, each in (("run", record), ("baseline", baseline.record))
        if each.status is RunStatus.INCOMPLETE
    ]
    chosen = unique(rules) or _default_rules(baseline.record)
    if not chosen:
        detail = "the baseline has no metric with a value and a direction"
        return [*checks, Check(record, "metrics", Outcome.INCOMPLETE, detail=detail)]
    return checks + [_try(rule, record, baseline.record) for rule in chosen]


def _default_rules(baseline: ResultRecord) -> list[Rule]:
    return [
        Rule(metric)
        for metric, cell in baseline.metrics.items()
        if cell.value is not None and cell.higher_is_better is not None
    ]


def _try(rule: Rule, run: ResultRecord, baseline: ResultRecord) -> Check:
    new, old = run.metrics.get(rule.metric), baseline.metrics.get(rule.metric)
    for name, record in (("run", run), ("baseline", baseline)):
        if why := why_missing(record, rule.metric):
            detail = f"the {name} has no value: {why}"
            return Check(run, rule.text, Outcome.INCOMPLETE, rule.metric, detail=detail)
    if new is None or old is None or new.value is None or old.value is None:
        raise AssertionError("checked above")
    detail = ""
    if rule.side is None:
        rule, detail = _from_intervals(rule.metric, new, old)
    change = new.value - old.value
    return Check(
        run,
        rule.text if not detail else rule.metric,
        Outcome.PASS if rule.holds(change, old.value) else Outcome.REGRESSION,
        rule.metric,
        old.value,
        new.value,
        change,
        rule.bound(old.value),
        detail,
    )


def _from_intervals(metric: str, new: MetricValue, old: MetricValue) -> tuple[Rule, str]:
    """A rule whose bound is the 95% interval of the difference of two independent figures."""
    better = new.higher_is_better if new.higher_is_better is not None else old.higher_is_better
    if better is None:
        raise UserError(
            f"rule {metric!r}: neither direction of {metric} is better, give a bound such as "
            f"{metric}<=+0"
        )
    # Independent errors add as squares. The runs share their samples, whose values mostly rise and
    # fall together, so that this is rather too wide than too narrow.
    halves = [
        (cell.ci_high - cell.ci_low) / 2
        for cell in (new, old)
        if cell.ci_low is not None and cell.ci_high is not None
    ]
    tolerance = math.hypot(*halves) if halves else 0.0
    how = "tolerance from the intervals" if halves else "no interval: it must not get worse"
    rule = Rule(metric, ">=", -tolerance) if better else Rule(metric, "<=", tolerance)
    return rule, how


def update_baseline(path: Path, runs: Sequence[Loaded]) -> tuple[int, int]:
    """Put the runs into the baseline file; how many were replaced and how many are new.

    A record with the same task, model, protocol, dataset and seed is replaced, others stay.

    Raises:
        UserError: A run is incomplete, two runs are for one place, or the file cannot be written.
    """
    if path.is_dir():
        raise UserError(f"--baseline {path} is a folder: --update-baseline writes a file")
    kept: dict[object, ResultRecord] = {}
    if path.exists():
        kept = {key_of(loaded.record): loaded.record for loaded in load_records([path])}
    before = set(kept)
    fresh: dict[object, ResultRecord] = {}
    for loaded in runs:
        record = loaded.record
        if record.status is RunStatus.INCOMPLETE:
            raise UserError(
                f"{record.run_id} is incomplete ({record.n_failed} of {record.n} samples failed): "
                "no baseline is made of it"
            )
        if fresh.setdefault(key_of(record), record) is not record:
            raise UserError(f"two runs are for one place in the baseline: {record.run_id}")
    records = list((kept | fresh).values())
    content = [record.model_dump(mode="json") for record in records]
    whole = content[0] if len(content) == 1 else content
    write_text(path, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    return len(before & set(fresh)), len(set(fresh) - before)
