"""A sweep as JSON, as rows for machines and as tables for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.commands.console import NOTHING, print_line, print_results, print_table
from harness.commands.formats import Format
from harness.interfaces.errors import counted
from reports.paired import FEW
from reports.sweep.bjontegaard import Method
from reports.sweep.curves import RATE, Family, Figure, Sweep
from reports.text import heading, number, signed

if TYPE_CHECKING:
    from rich.console import Console

_METHODS = {
    Method.PCHIP: "monotone piecewise cubics (pchip) over the logarithm of the rate, as JVET-T2010",
    Method.CUBIC: "one cubic over the logarithm of the rate, as VCEG-M33",
}


def to_json(sweep: Sweep) -> dict[str, Any]:
    """All of it, with the points of every curve."""
    first = sweep.families[0].runs[0].record
    return {
        "task": first.task,
        "protocol": first.protocol,
        "protocol_digest": first.protocol_digest,
        "dataset": first.dataset,
        "dataset_digest": first.dataset_digest,
        "images": sweep.images,
        "anchor": sweep.anchor,
        "method": sweep.method,
        "common_bpp": sweep.range,
        "metrics": {name: {"higher_is_better": up} for name, up in sweep.metrics.items()},
        "curves": {each.name: _points(each, sweep) for each in sweep.families},
        "differences": [dataclasses.asdict(each) for each in sweep.deltas],
        "left_out": sweep.left_out,
        "notes": notes(sweep),
    }


def _points(family: Family, sweep: Sweep) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run.record.run_id,
            "model": run.record.model,
            **{
                name: cell.model_dump(include={"value", "ci_low", "ci_high", "n", "status"})
                for name, cell in run.record.metrics.items()
                if name == RATE or name in sweep.metrics
            },
        }
        for run in family.runs
    ]


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """A row a figure: points of curves, then what is said of whole curves, all of the same keys."""
    points = [
        {
            "curve": family.name,
            "metric": metric,
            "figure": "point",
            "bpp": run.record.value(RATE),
            "value": cell.value,
            "ci_low": cell.ci_low,
            "ci_high": cell.ci_high,
            "anchor": "",
            "why": "" if cell.value is not None else cell.status,
            "run_id": run.record.run_id,
        }
        for family in sweep.families
        for run in family.runs
        for metric in sweep.metrics
        if (cell := run.record.metrics.get(metric)) is not None
    ]
    wholes = [
        {
            "curve": each.family,
            "metric": each.metric,
            "figure": name,
            "bpp": None,
            "value": figure.value,
            "ci_low": figure.low,
            "ci_high": figure.high,
            "anchor": sweep.anchor,
            "why": "; ".join(filter(None, (figure.why, *each.notes))),
            "run_id": "",
        }
        for each in sweep.deltas
        for name, figure in (
            ("bd_rate", each.rate),
            ("bd_quality", each.quality),
            ("mean_over_common_rates", each.area),
        )
    ]
    return points + wholes


def notes(sweep: Sweep) -> list[str]:
    """What must be known of the figures, one line each."""
    lines = [f"BD-rate and BD-quality: {_METHODS[sweep.method]}, against {sweep.anchor}"]
    if sweep.range is not None:
        low, high = sweep.range
        lines.append(f"area: mean over the logarithm of the rate from {low:.4g} to {high:.4g} bpp")
    if sweep.images < FEW:
        lines.append(f"{counted(sweep.images, 'image')}: no intervals of differences below {FEW}")
    else:
        lines.append(
            f"± is half of the 95% interval: paired bootstrap over {sweep.images} images, the same "
            "at every rate; figures of whole sets have none"
        )
    lines.append("in common: of the narrower range of qualities, and of rates")
    reasons: dict[str, list[str]] = {}
    for each in sweep.deltas:
        for name, figure in (("BD-rate", each.rate), ("BD-quality", each.quality)):
            if figure.why and each.family != sweep.anchor:
                reasons.setdefault(f"{each.family}: {figure.why}", []).append(
                    f"{name} of {each.metric}"
                )
        for note in each.notes:
            reasons.setdefault(f"{each.family} {note}", []).append(each.metric)
    lines += [f"{', '.join(what)}: {why}" for why, what in reasons.items()]
    left_out: dict[str, list[str]] = {}
    for name, why in sweep.left_out.items():
        left_out.setdefault(why, []).append(name)
    return lines + [f"left out: {', '.join(names)}: {why}" for why, names in left_out.items()]


def show(console: Console, sweep: Sweep, form: Format | None) -> None:
    """Print the points, then what the curves save against the anchor, then the notes."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    print_results(console, [run.record for each in sweep.families for run in each.runs], (), form)
    table = Table(
        title=escape(f"Curves against {sweep.anchor}"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("curve", "metric"):
        table.add_column(name)
    for name in ("BD-rate", "BD-quality", "area", "in common"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in sweep.deltas:
        other = each.family != sweep.anchor
        table.add_row(
            escape(each.family),
            escape(heading(each.metric, sweep.metrics[each.metric])),
            _cell(each.rate, _percent),
            _cell(each.quality, partial(signed, each.metric)),
            _cell(each.area, partial(number, each.metric)),
            " / ".join(f"{share:.0%}" for share in each.common) if other else NOTHING,
        )
    print_table(console, table, form)
    for note in notes(sweep):
        print_line(console, note, form, "dim")


def _cell(figure: Figure, write: Callable[[float], str]) -> str:
    if figure.value is None:
        return NOTHING
    if figure.low is None or figure.high is None:
        return write(figure.value)
    half = write((figure.high - figure.low) / 2).lstrip("+")
    return f"{write(figure.value)} [dim]±{half}[/dim]"


def _percent(share: float) -> str:
    return f"{'−' if share < 0 else '+'}{100 * abs(share):.1f}%"
