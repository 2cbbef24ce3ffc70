"""`uwt-eval run`: evaluate models on tasks."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from harness.commands.console import Batch, Json, Plugins, batch_of, terminal, with_options
from harness.commands.formats import Form, Format, format_of
from harness.commands.outputs import print_parts, print_records
from harness.interfaces.errors import ExitCode, RunStatus, UserError
from harness.interfaces.registry import GATES, load_plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.commands.filling import Filling
    from harness.engine.progress import Progress
    from harness.engine.runner import Finished
    from harness.engine.shards import FinishedShard
    from harness.engine.world import World
    from harness.interfaces import Gate, GateVerdict, RunRequest
    from harness.interfaces.types import ResultRecord

R = TypeVar("R", "Finished", "FinishedShard")

_AFTER_SHARDS = (
    "merge all shards into the suite's folder of results, then run it without --shard, which "
    "computes nothing anew"
)
_BEFORE_ANOTHER_TRY = 1.0
"""Seconds, where others are at all the runs that are left."""


Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="NAME[:ARGUMENT][?key=value&…]; repeat to compare several."),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What `uwt-eval run` and `sweep` take alike."""

    data: Annotated[
        str | None,
        typer.Option(
            help="Folder, .zip, .tar, .parquet, Hugging Face dataset folder or "
            "hf:REPO[:CONFIG][@SPLIT]."
        ),
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Named protocol or a .toml file; the task's first if absent. Of several, with "
            "commas between, each task takes the first that is for it."
        ),
    ] = None
    limit: Annotated[
        int | None, typer.Option(help="Evaluate a fixed choice of this many samples.")
    ] = None
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated metrics instead of the task's own; those that a run has stay."
        ),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto"
    model_precision: Annotated[
        str | None,
        typer.Option(
            help="What the model computes in, fp32, tf32, bf16 or fp16, instead of "
            "what the protocol says."
        ),
    ] = None
    batch_size: Batch = None
    seed: Annotated[int, typer.Option(help="Seed of every random stream.")] = 0
    out: Annotated[
        Path | None, typer.Option(help="Where run directories are made (default: runs).")
    ] = None
    max_failures: Annotated[
        int, typer.Option(help="Failed samples up to which a run counts as complete.")
    ] = 0
    small_sets: Annotated[
        bool, typer.Option("--small-sets", help="Give FID below its least number of images too.")
    ] = False
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute everything again, whatever is stored.")
    ] = False
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N: do the I-th of N parts of the work, without a result, which `uwt-eval "
            "merge` makes of all. For machines that share no folder."
        ),
    ] = None
    plugin: Plugins = None
    form: Form = None
    as_json: Json = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False

    @property
    def format(self) -> Format | None:
        """The format that is asked for; raise `UserError` for two."""
        return format_of(self.form, self.as_json) if self.form or self.as_json else None

    def given(self, context: typer.Context, models: Sequence[str]) -> dict[str, Any]:
        """The fields of a `Suite` that the command line gives."""
        from harness.commands.suite import ModelTable

        given: dict[str, Any] = {
            "models": tuple(ModelTable(name=each) for each in models) or None,
            "data": self.data,
            "protocols": None if self.protocol is None else (self.protocol,),
            "model_precision": self.model_precision,
            "limit": self.limit,
            "metrics": None if self.metrics is None else tuple(self.metrics.split(",")),
            "batch_size": batch_of(self.batch_size),
            "out": None if self.out is None else str(self.out),
        }
        # Of these the default is a value too, which one that a suite gives goes before.
        for key, name, value in (
            ("device", "device", self.device),
            ("seeds", "seed", (self.seed,)),
            ("max_failures", "max_failures", self.max_failures),
            ("small_sets", "small_sets", self.small_sets),
        ):
            source = context.get_parameter_source(name)
            given[key] = value if source is not None and source.name == "COMMANDLINE" else None
        return {name: value for name, value in given.items() if value is not None}


@with_options
def run(
    context: typer.Context,
    run: RunOptions,
    tasks: Annotated[
        list[str],
        typer.Argument(
            help="Tasks or groups, see `uwt-eval list`; or one suite file, SUITE.toml, in place of "
            "whose settings the options stand that are given beside it."
        ),
    ],
    model: Models = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Images made elsewhere, as --model images:PLACE: a folder or .npz file."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="What made the images of --images, for tables.")
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="Fill a published table: the models are its rows' checkpoints in this folder."
        ),
    ] = None,
    update_baseline: Annotated[
        bool,
        typer.Option(
            "--update-baseline", help="Put a suite's results into its gates' baselines; no check."
        ),
    ] = False,
) -> None:
    """Evaluate models on tasks; the same command again resumes what was interrupted.

    Without --model the task's baselines run; without data the embedded sample set is used. After
    a suite's runs its gates are applied, with the exit codes of `uwt-eval gate`.
    """
    from harness.commands.suite import Suite, overridden, read_suite, requests_of
    from harness.data.settings import read_settings
    from harness.engine.world import World

    form = run.format
    suite = Suite(tasks=tuple(tasks))
    if is_suite := any(name.endswith(".toml") for name in tasks):
        if len(tasks) > 1 or checkpoints is not None:
            raise UserError(f"{' '.join(tasks)}: a suite file stands alone, without --checkpoints")
        suite = read_suite(Path(tasks[0]))
    elif update_baseline:
        raise UserError("--update-baseline goes with a suite file, which names the baselines")
    models = [*(model or []), *_elsewhere(images, label)]
    if checkpoints is not None and form not in (None, Format.JSON):
        raise UserError(f"--checkpoints fills published tables, which have no --format {form}")
    if checkpoints is not None and (models or run.metrics):
        raise UserError("--checkpoints names models and metrics: leave --model and --metrics out")
    load_plugins([*map(Path, suite.plugins), *(run.plugin or [])])
    suite = overridden(suite, run.given(context, models))
    world = World.from_environment(run.shard)
    filling: Filling | None = None
    if checkpoints is not None:
        from harness.commands.filling import Filling

        filling = Filling.of(tasks, checkpoints)
        suite = suite.model_copy(update={"runs": filling.runs()})
    place = read_settings().out if suite.out is None else Path(suite.out)
    requests = requests_of(suite, place, fresh=run.fresh)
    if update_baseline and world.shards > 1:
        raise UserError(
            f"--shard {run.shard} makes no result to update a baseline with: {_AFTER_SHARDS}"
        )
    gate: Gate | None = GATES.get("baseline") if suite.gates and world.shards == 1 else None

    def check() -> None:
        """See before anything is run that rules and baselines can be read, once for all."""
        if gate is not None and world.is_main and not update_baseline:
            for each in suite.gates:
                gate.check(Path(each.baseline), each.rules)

    if run.dry_run:
        from harness.commands.plans import print_plans

        print_plans(requests, world, as_json=form is Format.JSON)
        check()
        return
    # A published table needs all of its rows.
    carried = carry_out_all(requests, world, run, go_on=filling is None, before=check)
    if not world.is_main:
        return
    finished, records = carried.finished, carried.records
    verdicts: list[GateVerdict] = []
    updated: list[str] = []
    if gate is not None and finished:
        roots = [result.root for result in finished]
        for each in suite.gates:
            if update_baseline:
                updated.append(gate.update(roots, Path(each.baseline)))
            else:
                verdicts.append(gate.judge(roots, Path(each.baseline), each.rules))
    if carried.parts:
        print_parts(carried.parts, form)
        if suite.gates:
            text = f"note: the suite's gates judge results, not shards: {_AFTER_SHARDS}"
            terminal(stderr=True).print(text, markup=False, style="yellow", soft_wrap=True)
    elif filling is not None:
        filling.show(requests, finished, form)
    elif form is Format.JSON:
        found = [record.model_dump(mode="json") for record in records]
        gates = [verdict.as_json() for verdict in verdicts]
        print(json.dumps({"records": found, "gates": gates} if is_suite else found, indent=2))
    else:
        print_records(records, [result.root for result in finished], form)
        messages = terminal(stderr=form in (Format.CSV, Format.MD))
        for verdict in verdicts:
            verdict.show(messages)
        for line in updated:
            messages.print(line, markup=False, soft_wrap=True, highlight=False)
    carried.end({verdict.exit_code for verdict in verdicts})


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of the requests of a command."""

    finished: list[Finished]
    parts: list[FinishedShard]
    """In place of results, where a shard was carried out."""
    refused: dict[str, list[str]]
    """By reason the requests that could not be carried out."""

    @property
    def records(self) -> list[ResultRecord]:
        """The results."""
        return [result.record for result in self.finished]

    def end(self, codes: Collection[ExitCode] = ()) -> None:
        """End the command: raise what was refused, or exit with the gravest of the codes."""
        if self.refused:
            reasons = [f"{', '.join(which)}: {reason}" for reason, which in self.refused.items()]
            raise UserError(f"not everything could be run: {'; '.join(reasons)}")
        whole = [record.status is RunStatus.COMPLETE for record in self.records]
        whole += [part.complete for part in self.parts]
        codes = {*codes, *(() if all(whole) else (ExitCode.INCOMPLETE,))}
        for code in (ExitCode.USAGE, ExitCode.REGRESSION, ExitCode.INCOMPLETE):
            if code in codes:
                raise typer.Exit(code)


def carry_out_all(
    requests: list[RunRequest],
    world: World,
    options: RunOptions,
    *,
    go_on: bool,
    before: Callable[[], None] = lambda: None,
) -> Carried:
    """Carry out the runs, or the world's shard of each; raise `UserError` where none can be.

    Args:
        requests: In order.
        world: The processes.
        options: What the command line gives.
        go_on: Whether the others are carried out where one cannot be.
        before: What is done once the processes have met, whose errors one of them tells.
    """
    # Processes that share a run stop together.
    shown = {
        "quiet": options.quiet or options.format is Format.JSON,
        "go_on": go_on and world.size == 1,
    }
    finished: list[Finished] = []
    parts: list[FinishedShard] = []
    with together(world, requests[0].device):
        before()
        if world.shards > 1:
            from harness.engine.shards import run_shard

            parts, refused = carry_out(run_shard, requests, world, **shown)
        else:
            from harness.engine.runner import run as run_one

            finished, refused = carry_out(run_one, requests, world, **shown)
    if world.is_main and not (finished or parts) and len(refused) == 1:
        raise UserError(*refused)
    return Carried(finished, parts, refused)


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


def carry_out(
    each: Callable[[RunRequest, World, Progress], R | None],
    requests: list[RunRequest],
    world: World,
    *,
    quiet: bool,
    go_on: bool,
) -> tuple[list[R], dict[str, list[str]]]:
    """Carry the requests out one after the other; what they have to say goes to stderr.

    A run that another command is at is put off to the end and waited for, as the other may wait for
    what this one is at; after `UWT_EVAL_WAIT` seconds without anything to do it is given up.

    Args:
        each: Carries one out.
        requests: In order.
        world: The processes.
        quiet: No progress bars.
        go_on: Whether the others are carried out where one cannot be.

    Returns:
        what came to its end, and by reason the requests that did not.
    """
    from harness.data.settings import read_settings
    from harness.data.store import InUse
    from harness.engine.progress import Progress
    from harness.engine.runner import by_task

    messages = terminal(stderr=True)
    progress = Progress(messages, quiet=quiet or not world.is_main)
    finished: dict[int, R] = {}
    notices: set[str] = set()
    refused: dict[str, list[str]] = {}

    def note(text: str) -> None:
        if text and text not in notices:
            messages.print(f"note: {text}", markup=False, style="yellow", soft_wrap=True)
            notices.add(text)

    todo, waited, most = requests, 0.0, read_settings().wait
    while todo:
        put_off: list[RunRequest] = []
        for request in by_task(todo):
            try:
                result = each(request, world, progress)
            except UserError as error:
                if not go_on or len(requests) == 1:
                    raise
                reason = str(error)
                if isinstance(error, InUse):
                    if waited < most:
                        limit = f"at most {most:g} s (UWT_EVAL_WAIT)"
                        note(f"{error.held}: waiting for it after the others, {limit}")
                        put_off.append(request)
                        continue
                    reason = f"{error.held}: waited {waited:g} s for it; run the same command again"
                name = f"{request.task} · {request.model}"
                refused.setdefault(reason, []).append(name)
                continue
            if result is None:
                continue
            finished[id(request)] = result
            note(result.notice)
            for line in result.first_errors:
                messages.print(f"failed: {line}", markup=False, style="red", soft_wrap=True)
        waited = waited + _BEFORE_ANOTHER_TRY if len(put_off) == len(todo) else 0.0
        if waited:
            time.sleep(_BEFORE_ANOTHER_TRY)
        todo = put_off
    return [finished[id(each)] for each in requests if id(each) in finished], refused
