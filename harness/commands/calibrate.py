"""`uwt-eval calibrate`: do metrics order known damage as they must, and are judges right."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from harness.commands.console import Json, Plugins, terminal
from harness.interfaces import Marked, MarksJudge
from harness.interfaces.errors import ExitCode, Unavailable, UserError
from harness.interfaces.registry import TASKS, load_plugins


def calibrate(
    images: Annotated[
        str | None, typer.Argument(help="Any images: folder, .zip, .tar or .npz.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="TASK", help="Check this task's judge, without images.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="As for `uwt-eval metrics`, torch-fidelity if none; or the task's."),
    ] = None,
    plugin: Plugins = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    as_json: Json = False,
) -> None:
    """Check metrics on canaries: identical images, two halves, ladders of blur and JPEG.

    With --judge, ask a task's judge about drawings whose truth is known by construction.

    Exit code 1 where a metric is out of order, 3 where one could not be computed, or the judge did
    not answer every question.
    """
    load_plugins(plugin)
    if (images is None) == (judge is None):
        raise UserError("give images to check metrics by, or --judge with a task, and not both")
    if judge is not None:
        _check_judge(judge, protocol, device, as_json=as_json)
        return
    from harness.commands.console import NOTHING, label
    from harness.data.images import DecodeRule
    from harness.engine import protocols
    from harness.engine.progress import Progress
    from harness.engine.world import World, resolve_device
    from harness.sets import FILES
    from harness.sets.calibration import calibrate as measure
    from harness.sets.images import open_images

    messages = terminal(stderr=True)
    progress = Progress(messages, quiet=as_json)
    chosen = protocols.find(protocol or "torch-fidelity", FILES)
    with progress.listing() as on_listing:
        judged = open_images(str(images), DecodeRule(**chosen.settings["decode"]), on_listing)
    findings = measure(
        judged, chosen, device=resolve_device(device, World()), seed=seed, progress=progress
    )
    if as_json:
        rows = [
            {
                "metric": finding.metric,
                "measured": finding.measured,
                "faults": list(finding.faults),
                "values": {
                    name: cell.model_dump(mode="json") for name, cell in finding.values.items()
                },
            }
            for finding in findings
        ]
        print(json.dumps(rows, indent=2))
    else:
        table = Table(box=box.SIMPLE_HEAD, title=f"canaries · {judged.label} · {chosen.name}")
        table.add_column("set")
        for finding in findings:
            table.add_column(label(finding.metric).title, justify="right")
        for name in findings[0].values:
            cells = [finding.values[name].value for finding in findings]
            texts = [
                NOTHING if value is None else label(finding.metric).text(value)
                for finding, value in zip(findings, cells, strict=True)
            ]
            table.add_row(name, *texts)
        console = terminal()
        console.print(table)
        for finding in findings:
            if finding.faults:
                console.print(f"{finding.metric}: {'; '.join(finding.faults)}", style="bold red")
            elif not finding.measured:
                reason = finding.values["blur 1"].status
                console.print(f"{finding.metric}: {reason}", style="dim", markup=False)
            else:
                console.print(f"{finding.metric}: in order", style="green")
    if any(finding.faults for finding in findings):
        raise typer.Exit(ExitCode.REGRESSION)
    if not all(finding.measured for finding in findings):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _check_judge(name: str, protocol: str | None, device: str, *, as_json: bool) -> None:
    from harness.engine.world import World, resolve_device

    task = TASKS.get(name)
    if not isinstance(task, MarksJudge):
        fits = TASKS.ask(lambda each: isinstance(each, MarksJudge))
        raise UserError(
            f"task {name!r} has no judge that marks can check; those that have: "
            + ", ".join(each for each, fit in fits.items() if fit)
        )
    chosen = task.protocol(protocol or task.spec.protocols[0])
    try:
        marks = task.marks(chosen, resolve_device(device, World()))
    except Unavailable as reason:
        raise UserError(f"the judge of {name!r} cannot be asked: {reason}") from reason
    kinds = [*dict.fromkeys(mark.kind for mark in marks), "all"]
    rows = [_agreement(kind, [m for m in marks if kind in {"all", m.kind}]) for kind in kinds]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        table = Table(box=box.SIMPLE_HEAD, title=f"marks by construction · {name} · {chosen.name}")
        for column in ("questions", "asked", "answered", "agrees", "where true", "where false"):
            table.add_column(column, justify="left" if column == "questions" else "right")
        for row in rows:
            shares = [row[key] for key in ("agrees", "said where true", "said where false")]
            texts = ["—" if share is None else f"{100 * share:.1f}%" for share in shares]
            table.add_row(row["kind"], str(row["asked"]), str(row["answered"]), *texts)
        terminal().print(table)
    if rows[-1]["answered"] < rows[-1]["asked"]:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _agreement(kind: str, marks: list[Marked]) -> dict[str, Any]:
    """How often the judge is right, and how likely it finds what is true and what is false."""
    known = [mark for mark in marks if mark.probability == mark.probability]

    def mean(values: list[float]) -> float | None:
        return sum(values) / len(values) if values else None

    return {
        "kind": kind,
        "asked": len(marks),
        "answered": len(known),
        "agrees": mean([float(mark.agrees) for mark in known]),
        "said where true": mean([mark.probability for mark in known if mark.truth]),
        "said where false": mean([mark.probability for mark in known if not mark.truth]),
    }
