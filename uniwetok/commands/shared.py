"""What the training commands have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from rich.console import Console

from harness.interfaces.errors import Unavailable, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from uniwetok.train.engine.loop import Finished, Hooks

Settings = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE over the preset; repeat.")
]
Out = Annotated[Path | None, typer.Option(help="Folder of the run (default: runs/train/PRESET).")]
Limit = Annotated[int, typer.Option(help="Images of a validation.")]
Device = Annotated[str, typer.Option(help="auto or cpu.")]
WorldSize = Annotated[int, typer.Option("--world", help="GPUs that --dry-run plans for.")]
StepSeconds = Annotated[
    float | None, typer.Option(help="Of a measured step, for --dry-run to reckon hours from.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan: sizes, memory, work, hours.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


@dataclass(frozen=True)
class Validation:
    """The task that a run is validated by, as `uwt-eval run` runs it."""

    task: str
    model: Callable[[Path], str]
    """What `--model` would take for the weights in a folder."""
    data: str | None
    limit: int
    metrics: tuple[str, ...] | None = None


def check_device(device: str) -> None:
    """Refuse what training cannot run on."""
    if device not in {"auto", "cpu"}:
        raise UserError(f"--device {device}: use auto or cpu")


@contextmanager
def progress(
    steps: int, validation: Validation | None, out: Path, device: str, *, quiet: bool
) -> Iterator[tuple[Hooks, Callable[[int, int], None]]]:
    """Show progress on a terminal, and validate with a task where there is one.

    Yields:
        What the loop calls, and what moves the same bar as (done, total) before it begins.
    """
    from harness.engine.progress import Progress
    from uniwetok.train.engine.loop import Hooks

    messages = Console(stderr=True)

    def notice(text: str) -> None:
        if not quiet:
            messages.print(text, markup=False, soft_wrap=True)

    def validate(validation: Validation, model: Path, step: int) -> Mapping[str, float]:
        from harness.engine.runner import run
        from harness.engine.world import World
        from harness.interfaces import RunRequest

        request = RunRequest(
            task=validation.task,
            model=validation.model(model),
            data=validation.data,
            limit=validation.limit,
            metrics=validation.metrics,
            device=device,
            out=out / "validation",
        )
        finished = run(request, World(), Progress(messages, quiet=True))
        assert finished is not None
        metrics = finished.record.metrics
        values = {name: m.value for name, m in metrics.items() if m.value is not None}
        notice(f"step {step:,}: " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()))
        return values

    with Progress(messages, quiet=quiet).bar("training") as advance:
        hooks = Hooks(
            on_step=lambda step, _: advance(step, steps),
            validate=None if validation is None else partial(validate, validation),
            on_notice=notice,
        )
        yield hooks, advance


class PrintedPlan(Protocol):
    """What a run will take, for people and machines."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields ready for JSON."""
        ...

    def table(self, title: str) -> Table:
        """Lay the plan out for a terminal."""
        ...


def print_plan(preset: str, plan: PrintedPlan, *, as_json: bool) -> None:
    """Print what a run will take."""
    if as_json:
        print(json.dumps({"preset": preset, **plan.to_dict()}, indent=2))
    else:
        Console().print(plan.table(preset))


def print_finished(finished: Finished, next_step: str, *, as_json: bool) -> None:
    """Print where the model is, and the command that evaluates it."""
    if as_json:
        facts: dict[str, Any] = {"steps": finished.steps, "model": str(finished.model)}
        print(json.dumps({**facts, "values": dict(finished.values)}, indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"done: {finished.steps:,} steps; the model is {finished.model}")
    console.print(f"evaluate it: {next_step}", markup=False)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what the user can mend into one line and exit code 2."""
    from uniwetok.train import TrainingError

    try:
        yield
    except TrainingError as error:
        raise UserError(str(error)) from error
    except Unavailable as error:
        raise UserError(f"{error.status}; or --set loss.lpips_weight=0 trains without") from error
