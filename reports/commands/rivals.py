"""`uwt-eval reproduce table8 … table13`: the paper's rivals, measured where they can be had."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.console import NOTHING, Json, Plugins, terminal
from harness.interfaces.errors import ExitCode, UserError, counted
from harness.interfaces.registry import load_plugins
from reports.commands import table_numbers

if TYPE_CHECKING:
    from rich.console import Console

    from harness.interfaces.types import ResultRecord
    from reports.rivals import Rival


@dataclass(frozen=True, slots=True)
class Figure:
    """One printed figure, and ours."""

    task: str
    metric: str
    heading: str
    printed: float
    measured: float | None
    shown: tuple[str, str, str]
    """Printed, ours, and the difference, as text."""

    @property
    def difference(self) -> float | None:
        """Ours - printed."""
        return None if self.measured is None else self.measured - self.printed


@dataclass(slots=True)
class Outcome:
    """What came of a row."""

    rival: Rival
    figures: list[Figure] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    """Why ours do not compare with the printed figures."""
    missing: list[str] = field(default_factory=list)
    """What there was not, one line each."""
    notes: list[str] = field(default_factory=list)
    """What else is to be known of how it was measured."""

    @property
    def measured(self) -> bool:
        """Whether any of its figures is ours too."""
        return any(each.measured is not None for each in self.figures)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        rival = self.rival
        facts = ("table", "name", "tasks", "status", "model", "weights", "licence", "code", "note")
        return {
            **{name: getattr(rival, name) for name in facts},
            "command": rival.command,
            "samples": dict(rival.samples),
            "figures": [
                {**dataclasses.asdict(each), "difference": each.difference} for each in self.figures
            ],
            "comparable": self.measured and not self.apart,
            "apart": self.apart,
            "notes": self.notes,
            "missing": self.missing,
        }


def table(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(help="table8 to table13.")],
    rows: Annotated[
        list[str] | None,
        typer.Option(help="Rows by the paper's names, with commas between; repeat."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Data of all tasks, or TASK=PATH for one of them; repeat."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Folder with weights as OWNER/NAME, before the hub.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="A fixed choice of this many samples.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Where run directories are made (default: runs).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; nothing is fetched.")
    ] = False,
    as_json: Json = False,
    plugin: Plugins = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Measure the rivals in Tables 8 to 13, and print ours beside the paper's figures.

    What cannot be had is said in one line, and the next row goes on.
    """
    from reports.rivals import load_rivals, select

    load_plugins(plugin)
    group = context.parent and context.parent.command
    beside: Iterable[str] = getattr(group, "commands", ())
    if weights is not None and not weights.is_dir():
        raise UserError(f"--weights {weights}: there is no such folder")
    numbers = table_numbers(names, (name for name in beside if name != "table"))
    wanted = [name.strip() for text in rows or [] for name in text.split(",")]
    outcomes = [
        Outcome(rival)
        for rival in select((each for each in load_rivals() if each.table in numbers), wanted)
    ]
    console = terminal(highlight=False, soft_wrap=True)
    if not dry_run:
        sources = _sources(data or [], {task for each in outcomes for task in each.rival.tasks})
        for outcome in outcomes:
            _measure(outcome, sources, weights, limit, device, out, quiet=quiet or as_json)
            if not as_json:
                _show(console, outcome)
    elif not as_json:
        for outcome in outcomes:
            _show_plan(console, outcome.rival, limit)
    if as_json:
        print(json.dumps([outcome.to_dict() for outcome in outcomes], indent=2))
    else:
        console.print(_summary(outcomes, planned=dry_run), markup=False)
    if not dry_run and not any(outcome.measured for outcome in outcomes):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _sources(given: Sequence[str], tasks: set[str]) -> dict[str, str]:
    """Data by task."""
    found: dict[str, str] = {}
    for text in given:
        task, equals, path = text.partition("=")
        if equals and task in tasks:
            found[task] = path
        else:
            found = {**dict.fromkeys(tasks, text), **found}
    return found


def _measure(
    outcome: Outcome,
    sources: dict[str, str],
    weights: Path | None,
    limit: int | None,
    device: str,
    out: Path | None,
    *,
    quiet: bool,
) -> None:
    """Run what the row's figures need, and put its figures beside them."""
    from harness.data.settings import read_settings
    from harness.engine.progress import Progress
    from harness.engine.runner import run
    from harness.engine.world import World
    from harness.interfaces import RunRequest

    rival = outcome.rival
    if not rival.model:
        made = f"{rival.made} of the code of {rival.code}, which `{rival.command}` takes"
        outcome.missing.append(made if rival.status == "files" else rival.note)
        return
    if weights is not None and rival.repository and rival.place_in(weights) is None:
        name = Path(rival.repository).name
        looked = dict.fromkeys((rival.repository, name))
        outcome.notes.append(f"--weights {weights} has no {' or '.join(looked)}, and was not used")
    for task in rival.tasks:
        request = RunRequest(
            task=task,
            model=rival.model_in(weights),
            data=sources.get(task),
            limit=limit,
            device=device,
            out=out or read_settings().out,
        )
        try:
            finished = run(request, World(), Progress(terminal(stderr=True), quiet=quiet))
        except UserError as error:
            outcome.missing.append(f"{task}: {error}")
            continue
        assert finished is not None  # One process alone.
        _compare(outcome, finished.record)


def _compare(outcome: Outcome, record: ResultRecord) -> None:
    """Put a result's figures beside the printed ones."""
    from reports.paper import load_table
    from reports.tables.filled import PLAIN, block_of, measures_of, why_apart

    rival = outcome.rival
    printed = load_table(rival.table)
    measures = measures_of(printed)
    for measure in measures:
        value = rival.row.get(measure.table, {}).get(measure.metric)
        if value is None or measure.table not in {PLAIN, block_of(record.task, measures)}:
            continue
        ours = record.metrics.get(measure.metric)
        found = None if ours is None else ours.value
        if found is None:
            status = "not measured" if ours is None else ours.status
            outcome.missing.append(f"{record.task}: {measure.heading}: {status}")
        texts = (
            ("", "") if found is None else (measure.text(found, 1), measure.text(found - value, 1))
        )
        outcome.figures.append(
            Figure(
                task=record.task,
                metric=measure.metric,
                heading=measure.heading,
                printed=value,
                measured=found,
                shown=(measure.text(value), *texts),
            )
        )
    outcome.apart += [f"{record.task}: {why}" for why in why_apart(printed, record)]


def _show(console: Console, outcome: Outcome) -> None:
    from rich.table import Table

    rival = outcome.rival
    apart = " · not comparable" if outcome.measured and outcome.apart else ""
    console.print(f"{rival.name} · Table {rival.table}{apart}", style="bold", markup=False)
    if outcome.figures:
        grid = Table(box=None, pad_edge=False)
        for heading in ("  task", "figure", "printed", "ours", "difference"):
            grid.add_column(heading)
        for each in outcome.figures:
            shown = [text or NOTHING for text in each.shown]
            sign = "+" if each.difference is not None and each.difference > 0 else ""
            grid.add_row(f"  {each.task}", each.heading, shown[0], shown[1], sign + shown[2])
        console.print(grid)
    for line in _joined(outcome.missing, rival.tasks):
        style = "dim" if rival.status in {"files", "none"} else "red"
        console.print(f"  missing: {line}", style=style, markup=False)
    for line in [
        *outcome.apart,
        *outcome.notes,
        *([rival.note] if rival.model and rival.note else []),
    ]:
        console.print(f"  note: {line}", style="dim", markup=False)


def _joined(lines: Sequence[str], tasks: Sequence[str]) -> list[str]:
    """What is missing, the same of several tasks in one line."""
    found: dict[str, list[str]] = {}
    for line in lines:
        task, _, why = line.partition(": ")
        of_task = task in tasks
        found.setdefault(why if of_task else line, []).extend([task] * of_task)
    return [f"{', '.join(names)}: {why}" if names else why for why, names in found.items()]


def _summary(outcomes: Sequence[Outcome], *, planned: bool) -> str:
    """How many rows there are of each kind, or how many were measured."""
    from reports.rivals import STATUSES

    if not planned:
        measured = sum(outcome.measured for outcome in outcomes)
        return f"{measured} of {len(outcomes)} rows measured"
    counts = Counter(STATUSES[outcome.rival.status] for outcome in outcomes)
    kinds = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    return f"{counted(len(outcomes), 'row')}: {kinds}"


def _show_plan(console: Console, rival: Rival, limit: int | None) -> None:
    from reports.rivals import STATUSES

    licence = f" ({rival.licence})" if rival.licence else ""
    console.print(f"{rival.name} · {STATUSES[rival.status]}", style="bold", markup=False)
    if rival.weights:
        console.print(f"  weights: {rival.weights}{licence}", markup=False)
    if rival.status == "files":
        console.print(f"  {rival.made} of the code of {rival.code}", markup=False)
    if rival.command:
        console.print(f"  {rival.cost(limit)}\n  {rival.command}", markup=False)
    if rival.note:
        console.print(f"  note: {rival.note}", markup=False, style="dim")
