"""`uwt-eval run`: evaluate models on tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

import typer
from rich.console import Console

from harness.commands.console import Json, Plugins, terminal
from harness.interfaces.errors import ExitCode, UserError
from harness.interfaces.registry import (
    REFERENCES,
    TABLES,
    TASKS,
    did_you_mean,
    expand_tasks,
    load_plugin,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.engine.progress import Progress
    from harness.engine.runner import Finished
    from harness.engine.shards import FinishedShard
    from harness.engine.world import World
    from harness.interfaces import PublishedTable, RunRequest
    from harness.interfaces.types import ReferenceRow, ResultRecord

R = TypeVar("R", "Finished", "FinishedShard")


def run(
    tasks: Annotated[list[str], typer.Argument(help="Tasks or groups, see `uwt-eval list`.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="NAME[:ARGUMENT][?key=value&…]; repeat to compare several."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Images made elsewhere, as --model images:PLACE: a folder or .npz file."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="What made the images of --images, for tables.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder, .zip, .tar or Hugging Face dataset folder.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Named protocol or a .toml file; the task's first if absent. Of several, with "
            "commas between, each task takes the first that is for it."
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="Fill a published table: the models are its rows' checkpoints in this folder."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Evaluate a fixed choice of this many samples.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated metrics instead of the task's own; those that a run has stay."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    model_precision: Annotated[
        str | None,
        typer.Option(
            help="What the model computes in, fp32, tf32, bf16 or fp16, instead of "
            "what the protocol says."
        ),
    ] = None,
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
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute everything again, whatever is stored.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N: do the I-th of N parts of the work, without a result, which `uwt-eval "
            "merge` makes of all. For machines that share no folder."
        ),
    ] = None,
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
    from harness.data.settings import read_settings
    from harness.engine.runner import run as run_one
    from harness.engine.world import World
    from harness.interfaces import RunRequest
    from harness.interfaces.types import RunStatus

    for path in plugin or []:
        load_plugin(path)
    model = [*(model or []), *_elsewhere(images, label)]
    if checkpoints is not None and (model or metrics):
        raise UserError("--checkpoints names models and metrics: leave --model and --metrics out")
    world = World.from_environment(shard)
    names = expand_tasks(tasks)
    tables = {name: _table(name) for name in tasks} if checkpoints is not None else {}
    if checkpoints is not None:
        choices = _table_runs(tables, checkpoints)
    else:
        choices = [
            (name, choice)
            for name in names
            for choice in (model or TASKS.get(name).spec.default_models)
        ]
    if not choices:
        raise UserError(f"task {tasks[0]!r} has no default model: give one with --model")
    requests = [
        RunRequest(
            task=name,
            model=choice,
            protocol=_protocol_for(name, protocol),
            model_precision=model_precision,
            data=data,
            limit=limit,
            metrics=None if metrics is None else tuple(metrics.split(",")),
            seed=seed,
            device=device,
            batch_size=batch_size,
            max_failures=max_failures,
            small_sets=small_sets,
            fresh=fresh,
            out=out or read_settings().out,
        )
        for name, choice in choices
    ]
    if dry_run:
        from harness.commands.plans import print_plans

        print_plans(requests, world, as_json=as_json)
        return
    # A published table needs all of its rows, and processes that share a run stop together.
    alone = checkpoints is None and world.size == 1
    shown = {"quiet": quiet or as_json, "go_on": alone}
    finished: list[Finished] = []
    parts: list[FinishedShard] = []
    with together(world, device):
        if world.shards > 1:
            from harness.engine.shards import run_shard

            parts, refused = carry_out(run_shard, requests, world, **shown)
        else:
            finished, refused = carry_out(run_one, requests, world, **shown)
    if not world.is_main:
        return
    if not (finished or parts) and len(refused) == 1:
        raise UserError(*refused)
    records = [result.record for result in finished]
    if parts:
        _print_parts(terminal(), parts, as_json=as_json)
    elif checkpoints is not None:
        filled = [
            (table, table.filled(checkpoints, dict(zip(choices, records, strict=True))))
            for table in tables.values()
        ]
        _print_filled(terminal(), filled, finished, as_json=as_json)
    elif as_json:
        print(json.dumps([record.model_dump(mode="json") for record in records], indent=2))
    else:
        _print_tables(terminal(), finished)
    if refused:
        reasons = [f"{', '.join(which)}: {reason}" for reason, which in refused.items()]
        raise UserError(f"not everything could be run: {'; '.join(reasons)}")
    whole = [record.status is RunStatus.COMPLETE for record in records]
    if not all([*whole, *(part.complete for part in parts)]):
        raise typer.Exit(ExitCode.INCOMPLETE)


@contextmanager
def together(world: World, device: str) -> Iterator[None]:
    """The processes of a command, and each place listed once within; errors are said by one."""
    from harness.data.manifest import frozen_data
    from harness.engine.world import resolve_device

    try:
        if world.size > 1:
            world.join(resolve_device(device, world))
        with frozen_data(), _stopped_with(world):
            yield
    except UserError as error:
        if world.speaks():
            raise
        raise typer.Exit(error.exit_code) from error
    finally:
        world.leave()


def _stopped_with(world: World) -> AbstractContextManager[None]:
    if world.size == 1:
        return nullcontext()
    from harness.commands.interrupts import stopped_with

    return stopped_with(world)


def _elsewhere(images: Path | None, label: str | None) -> list[str]:
    """The model that `--images` and `--label` mean."""
    if images is None:
        if label is not None:
            raise UserError(f"--label {label} names what made images: give them with --images")
        return []
    option = "" if label is None else f"{'&' if '?' in str(images) else '?'}label={quote(label)}"
    return [f"images:{images}{option}"]


def _table(name: str) -> PublishedTable:
    """The published table of that name; raise `UserError` with the nearest names."""
    known: dict[str, PublishedTable] = {}
    for tables in TABLES.ask(dict).values():
        known = {**tables, **known}
    if name not in known:
        raise UserError(
            f"--checkpoints fills published tables, and {name!r} is none: "
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def _table_runs(tables: dict[str, PublishedTable], checkpoints: Path) -> list[tuple[str, str]]:
    """Runs of all tables, each once; raise `UserError` where no checkpoint is there."""
    missing = [path for table in tables.values() for path in table.missing(checkpoints)]
    runs = [run for table in tables.values() for run in table.runs(checkpoints)]
    if not runs:
        raise UserError(
            f"--checkpoints {checkpoints}: no checkpoint of {', '.join(tables)} is there, "
            f"expected {', '.join(str(path) for path in missing)}"
        )
    messages = terminal(stderr=True)
    for path in dict.fromkeys(missing):
        messages.print(f"note: no checkpoint at {path}", markup=False, style="yellow")
    return list(dict.fromkeys(runs))


def _protocol_for(task: str, names: str | None) -> str | None:
    """The first of several comma-separated protocols that the task accepts; one alone as it is."""
    if names is None or "," not in names:
        return names
    refused: UserError | None = None
    for name in names.split(","):
        try:
            TASKS.get(task).protocol(name)
        except UserError as error:
            refused = refused or error
        else:
            return name
    raise refused or UserError(f"--protocol {names}: no name is given")


def carry_out(
    carry_out: Callable[[RunRequest, World, Progress], R | None],
    requests: list[RunRequest],
    world: World,
    *,
    quiet: bool,
    go_on: bool,
) -> tuple[list[R], dict[str, list[str]]]:
    """Carry the requests out one after the other; what they have to say goes to stderr.

    Args:
        carry_out: Does one.
        requests: In order.
        world: The processes.
        quiet: No progress bars.
        go_on: Whether the others are carried out where one cannot be.

    Returns:
        what came to its end, and by reason the requests that did not.
    """
    from harness.engine.progress import Progress
    from harness.engine.runner import by_task

    messages = terminal(stderr=True)
    progress = Progress(messages, quiet=quiet or not world.is_main)
    finished: list[R] = []
    notices: set[str] = set()
    refused: dict[str, list[str]] = {}
    for request in by_task(requests):
        try:
            result = carry_out(request, world, progress)
        except UserError as error:
            if not go_on or len(requests) == 1:
                raise
            refused.setdefault(str(error), []).append(f"{request.task} · {request.model}")
            continue
        if result is None:
            continue
        finished.append(result)
        if result.notice and result.notice not in notices:
            messages.print(f"note: {result.notice}", markup=False, style="yellow", soft_wrap=True)
            notices.add(result.notice)
        for line in result.first_errors:
            messages.print(f"failed: {line}", markup=False, style="red", soft_wrap=True)
    return finished, refused


def _print_filled(
    console: Console,
    filled: list[tuple[PublishedTable, dict[str, Any]]],
    finished: list[Finished],
    *,
    as_json: bool,
) -> None:
    if as_json:
        records = [result.record.model_dump(mode="json") for result in finished]
        print(json.dumps({"tables": [cells for _, cells in filled], "records": records}, indent=2))
        return
    for table, cells in filled:
        table.show(console, cells)
    _print_written(console, finished)


def _print_tables(console: Console, finished: list[Finished]) -> None:
    from harness.commands.console import print_results

    by_task: dict[str, list[ResultRecord]] = {}
    for result in finished:
        by_task.setdefault(result.record.task, []).append(result.record)
    for task, records in by_task.items():
        print_results(console, records, references(task))
    _print_written(console, finished)


def _print_parts(console: Console, parts: list[FinishedShard], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([part.as_json() for part in parts], indent=2))
        return
    for part in parts:
        console.print(
            f"{part.title} finished: {part.n} of {part.n_run} samples in {part.root}",
            markup=False,
            soft_wrap=True,
            highlight=False,
        )
    console.print(
        "copy the run directories of all shards together and `uwt-eval merge` them",
        markup=False,
        soft_wrap=True,
    )


def _print_written(console: Console, finished: list[Finished]) -> None:
    console.print()
    for result in finished:
        console.print(f"written: {result.root}", markup=False, soft_wrap=True, highlight=False)


def references(task: str) -> list[ReferenceRow]:
    """Published rows for a task, from every reference table installed."""
    published = REFERENCES.ask(lambda rows_of: list(rows_of(task)))
    return [row for rows in published.values() for row in rows]
