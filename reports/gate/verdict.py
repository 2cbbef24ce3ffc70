"""What a gate decides: each rule on each run, the exit code of them all, and its baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from harness.interfaces.errors import ExitCode, UserError, did_you_mean
from harness.interfaces.types import ResultRecord, RunStatus
from reports.comparability import differences
from reports.gate.baseline import key_of, one_too_many
from reports.gate.evidence import POWER_Z, Change, Infinite, changes
from reports.gate.rules import Rule, unique
from reports.records import Loaded, higher_is_better, metric_names, why_missing


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
    smallest_seen: float | None = None
    """The least change for the worse that the rule would have seen with a power of 80%."""
    rests_on: str = ""
    """Pairs of samples, or why there are none."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks of a gate."""

    checks: list[Check]
    unknown: list[ResultRecord]
    """Runs that the baseline does not know; nothing was checked of them."""
    against: str = ""
    """The baseline's model, where it is another than the run's."""
    unmatched: list[tuple[ResultRecord, list[str]]] = field(default_factory=list)
    """Runs with metrics that no rule was tried on, for their baseline has no value of them."""

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
        model = baselines[0].record.model
        against = "" if model == runs[0].record.model else model
        checks = _judge_one(runs[0], baselines[0], rules)
        return Verdict(checks, [], against, _unmatched([(runs[0], baselines[0])], rules))
    wanted = _by_key(baselines)
    by_key = _by_key([run for run in runs if key_of(run.record) in wanted])
    checks = []
    for key, baseline in wanted.items():
        run = by_key.get(key)
        if run is None:
            detail = "the baseline's run is not among those given"
            checks.append(Check(baseline.record, "run", Outcome.INCOMPLETE, detail=detail))
        else:
            checks += _judge_one(run, baseline, rules)
    unknown = [run.record for run in runs if key_of(run.record) not in wanted]
    if not by_key:
        raise UserError(
            f"no run has the task, model, protocol, dataset and seed of a baseline; "
            f"first run: {_name(unknown[0])}; first baseline: {_name(baselines[0].record)}"
        )
    pairs = [(run, wanted[key]) for key, run in by_key.items()]
    return Verdict(checks, unknown, unmatched=_unmatched(pairs, rules))


def _unmatched(
    pairs: Sequence[tuple[Loaded, Loaded]], rules: Sequence[Rule]
) -> list[tuple[ResultRecord, list[str]]]:
    """Each run's metrics that its baseline has no value of; none where the user gave the rules."""
    found = []
    for run, baseline in () if rules else pairs:
        checked = _default_rules(baseline.record)
        more = [rule.metric for rule in _default_rules(run.record) if rule not in checked]
        if more and not differences(run, baseline):
            found.append((run.record, more))
    return found


def _name(record: ResultRecord) -> str:
    return ", ".join(map(str, key_of(record)))


def _by_key(records: Sequence[Loaded]) -> dict[tuple[str, str, str, str, int], Loaded]:
    found: dict[tuple[str, str, str, str, int], Loaded] = {}
    for loaded in records:
        twin = found.setdefault(key_of(loaded.record), loaded)
        if twin is not loaded:
            raise one_too_many(twin, loaded)
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
    found, infinite = changes(run, baseline, [rule.metric for rule in chosen])
    for rule in chosen:
        better = higher_is_better(rule.metric, (record, baseline.record))
        side = better if rule.side is None else rule.side == ">="
        check = _try_infinite(rule, record, side, infinite.get(rule.metric))
        checks.append(check or _try(rule, record, baseline.record, found.get(rule.metric)))
    return checks


def _default_rules(baseline: ResultRecord) -> list[Rule]:
    return [
        Rule(metric)
        for metric, cell in baseline.metrics.items()
        if cell.higher_is_better is not None
        # Of a lossless baseline the PSNR is infinite, and no number.
        and (cell.value is not None or "infinite" in cell.status)
    ]


def _try_infinite(
    rule: Rule, run: ResultRecord, better: bool | None, found: Infinite | None
) -> Check | None:
    """What infinite pairs alone decide; None where finite ones do.

    From infinite to finite is worse than any bound, which means over the finite pairs do not show.
    """
    if found is None or better is None:
        return None
    lost = found.lost(better)
    gained = found.n_fell + found.n_rose - lost
    if found.surely(better) or (lost and not gained):
        sure = rule.side is not None or found.surely(better)
        outcome = Outcome.REGRESSION if sure else Outcome.INCOMPLETE
        detail = f"{lost} of {run.n} samples became worse beyond measure ({found.text})"
        return Check(run, rule.text, outcome, rule.metric, detail=detail)
    if found.only:
        return Check(run, rule.text, Outcome.PASS, rule.metric, detail=found.text)
    return None


def _try(rule: Rule, run: ResultRecord, baseline: ResultRecord, change: Change | None) -> Check:
    for name, record in (("run", run), ("baseline", baseline)):
        if why := why_missing(record, rule.metric):
            detail = f"the {name} has no value: {why}"
            return Check(run, rule.text, Outcome.INCOMPLETE, rule.metric, detail=detail)
    if change is None:
        raise AssertionError("both have a value")
    tried, value = rule, change.difference
    if rule.side is None and change.unknown:
        detail = f"{change.unknown}: give more samples, or a bound"
        return Check(run, rule.text, Outcome.INCOMPLETE, rule.metric, detail=detail)
    if rule.side is None:
        tried = _from_interval(rule.metric, change)
    else:
        value = change.run - change.baseline
    return Check(
        run,
        rule.text,
        Outcome.PASS if tried.holds(value, change.baseline) else Outcome.REGRESSION,
        rule.metric,
        change.baseline,
        change.run,
        value,
        tried.bound(change.baseline),
        _smallest_seen(tried, change),
        change.rests_on,
    )


def _from_interval(metric: str, change: Change) -> Rule:
    """A rule that fails where the 95% interval of the change lies wholly on the worse side."""
    if change.better is None:
        raise UserError(
            f"rule {metric!r}: neither direction of {metric} is better, give a bound such as "
            f"{metric}<=+0"
        )
    if change.better:
        return Rule(metric, ">=", -change.tolerance)
    return Rule(metric, "<=", change.tolerance)


def _smallest_seen(rule: Rule, change: Change) -> float:
    """The bound, and so much beyond it that chance leads back within it in one case of five."""
    bound = rule.bound(change.baseline)
    allowed = max(0.0, -bound if rule.side == ">=" else bound)
    return allowed + POWER_Z * change.deviation
