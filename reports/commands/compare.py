"""`uwt-eval compare`: run B against run A, sample by sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.console import Json, Plugins, print_line, print_table, terminal
from harness.commands.formats import Form, Format, format_of, to_csv
from harness.interfaces.errors import counted, json_text
from harness.interfaces.registry import load_plugins

if TYPE_CHECKING:
    from rich.console import Console

    from reports.compare import Comparison, Extreme
    from reports.records import Loaded


_LONGEST_TEXT = 120
"""Letters of an observed text that the terminal shows; JSON has all of it."""


def compare(
    run_a: Annotated[Path, typer.Argument(help="Run directory to compare with.")],
    run_b: Annotated[Path, typer.Argument(help="Run directory that is judged.")],
    by: Annotated[
        str | None, typer.Option(help="Metric that orders samples (default: the first there is).")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Worst and best samples to name.")] = 5,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a PNG of the pictures that both runs kept.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The runs' data, for the sheet's originals (default: the run's)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare what does not compare, and mark it.")
    ] = False,
    plugin: Plugins = None,
    form: Form = None,
    as_json: Json = False,
) -> None:
    """Compare two runs over the same samples: differences with paired intervals and p-values."""
    from reports.compare import compare as compare_runs
    from reports.files import check_ending
    from reports.records import load_record

    if sheet is not None:
        check_ending("--sheet", sheet, [".png"])
    load_plugins(plugin)
    found = compare_runs(
        load_record(run_a), load_record(run_b), by=by, extremes=samples, force=force
    )
    shown = 0
    if sheet is not None:
        from reports.pictures import write_sheet

        shown = write_sheet(found.a, found.b, found.ordered, sheet, data)
    form = format_of(form, as_json)
    if form is Format.JSON:
        print(json_text(_facts(found)))
        return
    if form is Format.CSV:
        print(to_csv(_rows(found)), end="")
        return
    console = terminal(form=form, highlight=False) if form else terminal(highlight=False)
    _show(console, found, form)
    if sheet is not None:
        console.print(
            f"{counted(shown, 'kept picture')}, the greatest loss first: {sheet}", markup=False
        )


def _side(loaded: Loaded) -> dict[str, Any]:
    record = loaded.record
    return {
        "run_id": record.run_id,
        "model": record.model,
        "path": str(loaded.path),
        "status": record.status.value,
        "n": record.n,
        "n_failed": record.n_failed,
    }


def _extreme(sample: Extreme) -> dict[str, Any]:
    finite = {key: _finite(value) for key, value in (("a", sample.a), ("b", sample.b))}
    texts = {name: {"a": a, "b": b} for name, (a, b) in sample.texts.items()}
    facts = {"id": sample.id, **finite, "change": _finite(sample.change)}
    return facts | ({"texts": texts} if texts else {})


def _finite(value: float) -> float | str | None:
    """Numbers as JSON has them: no NaN, infinities as words."""
    if value != value:
        return None
    return value if abs(value) != float("inf") else str(value)


def _facts(found: Comparison) -> dict[str, Any]:
    return {
        "comparable": not found.incomparable,
        "differs": found.incomparable,
        "warnings": found.warnings,
        "a": _side(found.a),
        "b": _side(found.b),
        "task": found.b.record.task,
        "protocol": found.b.record.protocol,
        "common_samples": found.n_common,
        "only_in_a": found.n_only_a,
        "only_in_b": found.n_only_b,
        "paired": {
            name: {
                "higher_is_better": found.better[name],
                "a": _finite(each.mean_a),
                "b": _finite(each.mean_b),
                "difference": _finite(each.difference),
                "ci_low": each.ci_low,
                "ci_high": each.ci_high,
                "p_value": each.p_value,
                "n": each.n,
                "left_out": each.n_left_out,
                "rose": each.n_rose,
                "fell": each.n_fell,
            }
            for name, each in found.paired.items()
        },
        "not_paired": {
            name: {
                "higher_is_better": found.better[name],
                "a": each.a,
                "b": each.b,
                "difference": each.difference,
                "ci_a": each.interval_a,
                "ci_b": each.interval_b,
                "reason": each.reason,
            }
            for name, each in found.unpaired.items()
        },
        "ranked_by": found.ranked_by,
        "worst": [_extreme(sample) for sample in found.worst],
        "best": [_extreme(sample) for sample in found.best],
    }


def _rows(found: Comparison) -> list[dict[str, Any]]:
    """A row a metric for machines; figures of whole sets have a difference alone."""
    facts = _facts(found)
    sides = {"run_a": found.a.record.run_id, "run_b": found.b.record.run_id}
    names = ("a", "b", "difference", "ci_low", "ci_high", "p_value", "n", "rose", "fell", "reason")
    return [
        {"metric": metric, "kind": kind, **{name: cells.get(name) for name in names}, **sides}
        for kind in ("paired", "not_paired")
        for metric, cells in facts[kind].items()
    ]


def _both(a: str, b: str) -> str:
    """What two runs said, once where it is the same."""
    from harness.interfaces.errors import one_line

    lines = [one_line(text) for text in (a, b)]
    cut = [line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…" for line in lines]
    return cut[0] if a == b else f"A {cut[0] or '—'} | B {cut[1] or '—'}"


def _show(console: Console, found: Comparison, form: Format | None) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from harness.interfaces.errors import one_line
    from reports.text import heading, interval, number, signed

    def line(text: str, style: str = "") -> None:
        print_line(console, text, form, style)

    for reason in found.incomparable:
        line(f"NOT COMPARABLE, forced: {reason}", "bold red")
    for name, run in (("A", found.a), ("B", found.b)):
        line(f"{name}: {one_line(run.record.model)}  {one_line(run.record.run_id)}")
    for warning in found.warnings:
        line(warning, "yellow")
    if form is Format.MD:
        console.print()
    left = f", {found.n_only_a} in A alone, {found.n_only_b} in B alone"
    lone = found.n_only_a or found.n_only_b
    title = f"{found.b.record.task}, {counted(found.n_common, 'common sample')}" + (
        left if lone else ""
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("paired by sample", "A", "B", "B − A", "95% interval", "p", "rose/fell"):
        table.add_column(name, justify="left" if name == "paired by sample" else "right")
    for metric, each in found.paired.items():
        note = f" (n={each.n})" if each.n_left_out else ""
        table.add_row(
            escape(heading(metric, found.better[metric]) + note),
            number(metric, each.mean_a),
            number(metric, each.mean_b),
            signed(metric, each.difference),
            interval(metric, each.ci_low, each.ci_high, change=True),
            _p_value(each.p_value),
            f"{each.n_rose}/{each.n_fell}",
        )
    print_table(console, table, form)
    sets = {name: each for name, each in found.unpaired.items() if not each.reason}
    if sets:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("not paired", "A", "95% interval", "B", "95% interval", "B − A"):
            table.add_column(name, justify="left" if name == "not paired" else "right")
        for metric, whole in sets.items():
            table.add_row(
                escape(heading(metric, found.better[metric])),
                number(metric, whole.a),
                interval(metric, *whole.interval_a),
                number(metric, whole.b),
                interval(metric, *whole.interval_b),
                signed(metric, whole.difference),
            )
        print_table(console, table, form)
    reasons: dict[str, list[str]] = {}
    for metric, whole in found.unpaired.items():
        if whole.reason:
            reasons.setdefault(whole.reason, []).append(metric)
    for reason, metrics in reasons.items():
        line(f"— {', '.join(metrics)}: {reason}", "dim")
    metric = found.ranked_by or ""
    sign = -1 if found.better.get(metric) is False else 1
    for loss, gain, samples in (
        ("lost most", "gained least", found.worst),
        ("lost least", "gained most", found.best),
    ):
        for sample in samples:
            title = loss if sign * sample.change < 0 else gain
            values = f"{number(metric, sample.a)} → {number(metric, sample.b)}"
            line(f"{title}: {sample.id}  {metric} {values}")
            for name, texts in sample.texts.items():
                line(f"    {name}: {_both(*texts)}", "dim")


def _p_value(value: float | None) -> str:
    if value is None:
        return "—"
    return "<0.001" if value < 0.0005 else f"{value:.3f}"
