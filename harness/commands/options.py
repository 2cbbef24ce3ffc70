"""Options that several commands share, written once as the fields of a dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from harness.commands.console import Batch, Json, Plugins, batch_of
from harness.commands.formats import Form, Format, format_of


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, after its own options, those of its parameter `run`: a dataclass of them."""
    kind = get_type_hints(command)["run"]
    hints = get_type_hints(kind, include_extras=True)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default)
        for name, option in inspect.signature(kind).parameters.items()
    ]
    own = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        run = kind(**{name: given.pop(name) for name in hints})
        command(**given, run=run)

    parameters = [*(each for each in own if each.name != "run"), *shared]
    annotations = get_type_hints(command, include_extras=True) | hints
    # Typer reads both.
    wrapped.__annotations__ = {each.name: annotations[each.name] for each in parameters}
    wrapped.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            each.replace(
                kind=inspect.Parameter.KEYWORD_ONLY, annotation=wrapped.__annotations__[each.name]
            )
            for each in parameters
        ]
    )
    return wrapped


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
            help="Folder, .zip, .tar, Hugging Face dataset folder or hf:REPO[:CONFIG][@SPLIT]."
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
        return format_of(self.form, self.as_json)

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
