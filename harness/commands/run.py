"""`uwt-eval run`: evaluate models on tasks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from harness.commands.options import Json, Plugins
from harness.errors import ExitCode, UserError
from harness.registry import REFERENCES, TASKS, expand_tasks, load_plugin

if TYPE_CHECKING:
    from harness.plan import RunRequest
    from harness.runner import Finished
    from harness.shard import World
    from harness.types import ReferenceRow, ResultRecord


def run(
    tasks: Annotated[list[str], typer.Argument(help="Tasks or groups, see `uwt-eval list`.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="NAME[:ARGUMENT][?key=value&…]; repeat to compare several."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder, .zip, .tar or Hugging Face dataset folder.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Named protocol or a .toml file; the task's first if absent.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Evaluate a fixed choice of this many samples.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Comma-separated metrics instead of the task's own.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images a forward pass on a GPU; a CPU takes one at a time."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random stream.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Where run directories are made (default: runs).")
    ] = None,
    max_failures: Annotated[
        int, typer.Option(help="Failed samples up to which a run counts as complete.")
    ] = 0,
    small_sets: Annotated[
        bool, typer.Option("--small-sets", help="Give FID below its least number of images too.")
    ] = False,
    plugin: Plugins = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Evaluate models on tasks; the same command again resumes what was interrupted.

    Without --model the task's baselines run; without data the embedded sample set is used.
    """
    from harness.plan import RunRequest, resolve_device
    from harness.settings import read_settings
    from harness.shard import World

    for path in plugin or []:
        load_plugin(path)
    world = World.from_environment()
    requests = [
        RunRequest(
            task=name,
            model=choice,
            protocol=protocol,
            data=data,
            limit=limit,
            metrics=tuple(metrics.split(",")) if metrics else None,
            seed=seed,
            device=device,
            batch_size=batch_size,
            max_failures=max_failures,
            small_sets=small_sets,
            out=out or read_settings().out,
        )
        for name in expand_tasks(tasks)
        for choice in (model or TASKS.get(name).spec.default_models)
    ]
    if not requests:
        raise UserError(f"task {tasks[0]!r} has no default model: give one with --model")
    if dry_run:
        _print_plans(requests, as_json=as_json)
        return
    world.join(resolve_device(device, world))
    try:
        _run_all(requests, world, as_json=as_json, quiet=quiet)
    finally:
        world.leave()


def _run_all(requests: list[RunRequest], world: World, *, as_json: bool, quiet: bool) -> None:
    from harness.progress import Progress
    from harness.runner import run as run_one
    from harness.types import RunStatus

    messages = Console(stderr=True)
    progress = Progress(messages, quiet=quiet or as_json)
    finished: list[Finished] = []
    notices: set[str] = set()
    for request in requests:
        result = run_one(request, world, progress)
        if result is None:
            continue
        finished.append(result)
        if result.notice and result.notice not in notices:
            messages.print(f"note: {result.notice}", markup=False, style="yellow", soft_wrap=True)
            notices.add(result.notice)
        for line in result.first_errors:
            messages.print(f"failed: {line}", markup=False, style="red", soft_wrap=True)
    if not world.is_main:
        return
    records = [result.record for result in finished]
    if as_json:
        print(json.dumps([record.model_dump(mode="json") for record in records], indent=2))
    else:
        _print_tables(Console(), finished)
    if any(record.status is RunStatus.INCOMPLETE for record in records):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _print_tables(console: Console, finished: list[Finished]) -> None:
    from harness.console import print_results

    by_task: dict[str, list[ResultRecord]] = {}
    for result in finished:
        by_task.setdefault(result.record.task, []).append(result.record)
    for task, records in by_task.items():
        print_results(console, records, references(task))
    console.print()
    for result in finished:
        console.print(f"written: {result.root}", markup=False, soft_wrap=True, highlight=False)


def references(task: str) -> list[ReferenceRow]:
    """Published rows for a task, from every reference table installed."""
    return [row for name in REFERENCES.names() for row in REFERENCES.get(name)(task)]


def _print_plans(requests: list[RunRequest], *, as_json: bool) -> None:
    from harness.plan import make_plan
    from harness.shard import World
    from harness.store import Store
    from harness.work import Worker

    alone = World()
    plans: list[dict[str, Any]] = []
    for request in requests:
        plan = make_plan(request, alone)
        missing = Worker(plan, Store(plan.root), alone).missing()
        plans.append(
            {
                "run_id": plan.file.run_id,
                "task": plan.file.task,
                "model": plan.file.model.title,
                "protocol": plan.file.protocol.name,
                "protocol_digest": plan.file.protocol.digest,
                "dataset": plan.file.dataset,
                "n": len(plan.file.samples),
                "n_missing": sum(len(block) for _, block in missing),
                "device": plan.device,
                "batch_size": plan.batch_size,
                "not_computed": plan.file.unavailable,
                "directory": str(plan.root),
                "request": {
                    key: str(value) if isinstance(value, Path) else value
                    for key, value in dataclasses.asdict(request).items()
                },
            }
        )
    if as_json:
        print(json.dumps(plans, indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    for item in plans:
        console.print(
            f"{item['task']} · {item['model']} · protocol {item['protocol']}", style="bold"
        )
        console.print(
            f"  {item['dataset']}: {item['n']} samples, {item['n_missing']} still to do, "
            f"on {item['device']}\n  into {item['directory']}",
            markup=False,
        )
        for name, reason in item["not_computed"].items():
            console.print(f"  {name}: {reason}", markup=False, style="dim")
