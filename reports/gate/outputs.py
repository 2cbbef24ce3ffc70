"""A verdict in a terminal, as Markdown for a pull request, as JUnit XML and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from harness.commands.console import NOTHING, label
from harness.commands.formats import markdown
from harness.interfaces.errors import ExitCode, one_line
from harness.interfaces.types import ResultRecord
from reports.gate.verdict import Check, Outcome, Verdict
from reports.text import code, heading, number, signed

if TYPE_CHECKING:
    from rich.console import Console

_NO_VALUE = "the baseline has no value"
MOST_TABLES = 20
"""Runs up to which a summary has a table for each; of more, those that passed are counted."""
_MARKS = {
    Outcome.PASS: "✅ pass",
    Outcome.REGRESSION: "❌ regression",
    Outcome.INCOMPLETE: "⚠️ incomplete",
    Outcome.NOT_COMPARABLE: "⛔ not comparable",
}


def runs_of(verdict: Verdict) -> list[tuple[ResultRecord, list[Check]]]:
    """The checks by run, in order."""
    runs: dict[str, tuple[ResultRecord, list[Check]]] = {}
    for check in verdict.checks:
        runs.setdefault(check.run.run_id, (check.run, []))[1].append(check)
    return list(runs.values())


def bound_text(check: Check) -> str:
    """The bound on the change with its side."""
    if check.bound is None:
        return NOTHING
    cell = check.run.metrics.get(check.metric)
    side = next((s for s in ("<=", ">=") if s in check.rule), None)
    if side is None:
        side = ">=" if cell is not None and cell.higher_is_better else "<="
    return f"{'≤' if side == '<=' else '≥'} {signed(check.metric, check.bound)}"


def smallest_text(check: Check) -> str:
    """The smallest change that would have been seen, without a sign."""
    if check.smallest_seen is None:
        return NOTHING
    return signed(check.metric, check.smallest_seen).removeprefix("+")


def _unmatched(verdict: Verdict) -> list[str]:
    """Metrics that no rule was tried on, and why; a line for all runs of the same ones."""
    models: dict[str, list[str]] = {}
    for run, metrics in verdict.unmatched:
        titles = ", ".join(label(metric).title for metric in metrics)
        models.setdefault(titles, []).append(run.model)
    n = len(runs_of(verdict))
    lines = []
    for titles, whose in models.items():
        of = "" if len(whose) == n else f" of {', '.join(dict.fromkeys(whose))}"
        lines.append(f"{titles}{of}: {_NO_VALUE}, --update-baseline gives it the run's")
    return lines


def to_markdown(verdict: Verdict) -> str:
    """A summary for a pull request: the verdict, then a table a run; short for many runs."""
    lines = [f"## {verdict.title}", ""]
    runs = runs_of(verdict)
    passed = [run for run, checks in runs if all(c.outcome is Outcome.PASS for c in checks)]
    if len(runs) > MOST_TABLES and passed:
        lines += [f"{len(passed)} of {len(runs)} runs passed every rule, the others:", ""]
        good = {run.run_id for run in passed}
        runs = [(run, checks) for run, checks in runs if run.run_id not in good]
    for run, checks in runs:
        where = f"{markdown(run.task)}, protocol {markdown(run.protocol)}, {markdown(run.dataset)}"
        other = f", against **{markdown(verdict.against)}**" if verdict.against else ""
        lines += [f"**{markdown(run.model)}** on {where} (n={run.n}, seed {run.seed}){other}", ""]
        lines += [
            "| rule | baseline | run | change | bound | smallest seen | rests on | |",
            "|---|--:|--:|--:|--:|--:|---|---|",
        ]
        lines += [_markdown_row(check) for check in checks]
        lines += ["", f"run {code(run.run_id)}", ""]
    for line in _unmatched(verdict):
        lines += [f"Not checked: {markdown(line)}", ""]
    if verdict.unknown:
        names = ", ".join(code(run.run_id) for run in verdict.unknown)
        lines += [f"Not in the baseline, not checked: {names}", ""]
    return "\n".join(lines)


def _markdown_row(check: Check) -> str:
    metric = check.metric
    outcome = _MARKS[check.outcome] + (f": {markdown(check.detail)}" if check.detail else "")
    rule = code(check.rule)
    cells = [
        rule,
        number(metric, check.baseline),
        number(metric, check.value),
        signed(metric, check.change),
        bound_text(check),
        smallest_text(check),
        markdown(check.rests_on or NOTHING),
        outcome,
    ]
    return f"| {' | '.join(cells)} |"


def to_junit(verdict: Verdict) -> str:
    """A test suite a run and a test case a rule; incomplete ones are errors.

    A metric that the baseline has no value of is a test case that was skipped.
    """
    root = ElementTree.Element("testsuites", name="uwt-eval gate")
    unmatched = {run.run_id: metrics for run, metrics in verdict.unmatched}
    for run, checks in runs_of(verdict):
        failures = sum(check.outcome is Outcome.REGRESSION for check in checks)
        errors = sum(
            check.outcome in {Outcome.INCOMPLETE, Outcome.NOT_COMPARABLE} for check in checks
        )
        skipped = unmatched.get(run.run_id, [])
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=one_line(f"{run.task} {run.model} {run.protocol} seed {run.seed}"),
            tests=str(len(checks) + len(skipped)),
            failures=str(failures),
            errors=str(errors),
        )
        if skipped:
            suite.set("skipped", str(len(skipped)))
        if verdict.against:
            properties = ElementTree.SubElement(suite, "properties")
            ElementTree.SubElement(
                properties, "property", name="baseline", value=one_line(verdict.against)
            )
        for check in checks:
            case = ElementTree.SubElement(
                suite, "testcase", classname=one_line(run.run_id), name=one_line(check.rule)
            )
            if check.outcome is Outcome.PASS:
                continue
            kind = "failure" if check.outcome is Outcome.REGRESSION else "error"
            ElementTree.SubElement(case, kind, type=check.outcome.value, message=sentence(check))
        for metric in skipped:
            case = ElementTree.SubElement(
                suite, "testcase", classname=one_line(run.run_id), name=one_line(metric)
            )
            ElementTree.SubElement(case, "skipped", message=_NO_VALUE)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def sentence(check: Check) -> str:
    """One line that says what was found."""
    if check.change is None:
        return one_line(check.detail)
    cell = check.run.metrics[check.metric]
    return (
        f"{heading(check.metric, cell.higher_is_better)} {number(check.metric, check.baseline)} to "
        f"{number(check.metric, check.value)}: {signed(check.metric, check.change)}, bound "
        f"{bound_text(check)}, smallest change seen {smallest_text(check)} ({check.rests_on})"
    )


def to_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict for machines, numbers unrounded."""
    fields = (
        *("rule", "metric", "baseline", "value", "change", "bound"),
        *("smallest_seen", "rests_on", "detail"),
    )
    return {
        "verdict": verdict.title,
        "against": verdict.against or None,
        "exit_code": int(verdict.exit_code),
        "checks": [
            {
                "run_id": check.run.run_id,
                "outcome": check.outcome.value,
                **{field: getattr(check, field) for field in fields},
            }
            for check in verdict.checks
        ],
        "not_in_baseline": [run.run_id for run in verdict.unknown],
        "metrics_not_in_baseline": {run.run_id: metrics for run, metrics in verdict.unmatched},
    }


def show(console: Console, verdict: Verdict) -> None:
    """Print a verdict: a line a check, below the run that it is of."""
    styles = {Outcome.PASS: "green", Outcome.INCOMPLETE: "yellow"}

    def line(text: str, style: str) -> None:
        console.print(text, markup=False, style=style, soft_wrap=True, highlight=False)

    for run, checks in runs_of(verdict):
        other = f", against the baseline of {verdict.against}" if verdict.against else ""
        line(f"{run.model}: {run.run_id}{other}", "bold")
        for check in checks:
            named = check.change is not None and check.rule == check.metric
            rule = f"{check.rule}: " if check.metric and not named else ""
            told = f"  {check.outcome.value}: {rule}{sentence(check)}"
            line(told, styles.get(check.outcome, "red"))
    for text in _unmatched(verdict):
        line(f"not checked: {text}", "yellow")
    for run in verdict.unknown:
        line(f"not in the baseline, not checked: {run.run_id}", "dim")
    line(verdict.title, "bold green" if verdict.exit_code is ExitCode.DONE else "bold red")
