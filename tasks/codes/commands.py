"""`uwt-eval encode`, `decode` and `reconstruct`: a tokenizer over files, on any number of GPUs."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.commands.console import Batch, Json, Plugins, batch_of, terminal, with_options
from harness.commands.outputs import check_apart
from harness.interfaces.errors import ExitCode, counted
from harness.interfaces.registry import load_plugins
from harness.interfaces.types import RunStatus
from tasks.codes.job import Job, check_kind, decoded, encoded

if TYPE_CHECKING:
    from harness.engine.runner import Finished

Format = Literal["parquet", "webdataset"]
Data = Annotated[
    str | None, typer.Argument(help="Folder, .zip, .tar, .parquet or Hugging Face dataset.")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="NAME[:ARGUMENT][?key=value&…], a tokenizer or codec."),
]
Pixels = Annotated[str, typer.Option(help="Which pixels: whole, crop-256 or a .toml file.")]
FormatOption = Annotated[Format, typer.Option("--format", help="Files of tables, or tar shards.")]
Seed = Annotated[int, typer.Option(help="Seed of a decoder's noise.")]
DEFAULT = "uniwetok-nano"
"""The model where none is given to encode with."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of every one of these commands."""

    limit: Annotated[int | None, typer.Option(help="A fixed choice of this many images.")] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto"
    batch_size: Batch = None
    max_failures: Annotated[int, typer.Option(help="Images that may fail.")] = 0
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do everything again, whatever is there.")
    ] = False
    plugin: Plugins = None
    as_json: Json = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False

    def job(self, seed: int = 0) -> Job:
        """What is to be done with these, once the plug-ins are there."""
        from harness.engine.world import World

        load_plugins(self.plugin)
        return Job(
            world=World.from_environment(),
            device=self.device,
            batch_size=batch_of(self.batch_size),
            seed=seed,
            max_failures=self.max_failures,
            limit=self.limit,
            fresh=self.fresh,
            quiet=self.quiet,
        )


@with_options
def encode(
    run: Options,
    data: Data = None,
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the codes.")] = Path("codes"),
    format_: FormatOption = "parquet",
    protocol: Pixels = "whole",
) -> None:
    """Encode images to files of codes; the same command again resumes.

    Without a model the small tokenizer that ships is taken, without data the sample set.
    """
    job = run.job()
    with _together(job):
        finished = encoded(job, data, model or DEFAULT, protocol, out, format_)
    if finished is None:
        return
    header, result = finished
    facts = {"codes": str(out), "n": header.n, "failed": header.failed, **_rate(result)}
    files = counted(len(header.files), f"{format_} file")
    what = f"{counted(header.n, 'image')} of {header.dataset} by {header.model.title}"
    _say(facts, f"{what}: {files} in {out}", as_json=run.as_json)
    _end(result)


@with_options
def decode(
    run: Options,
    codes: Annotated[Path, typer.Argument(help="Folder that `uwt-eval encode` wrote.")],
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("decoded"),
    seed: Seed = 0,
) -> None:
    """Decode files of codes to PNGs; the same command again resumes.

    Without a model the one that the codes were made with is taken.
    """
    job = run.job(seed)
    with _together(job):
        result = decoded(job, codes, model, out)
    if result is not None:
        _told_pictures(result, out, as_json=run.as_json)


@with_options
def reconstruct(
    run: Options,
    data: Data = None,
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("reconstructed"),
    protocol: Pixels = "whole",
    seed: Seed = 0,
) -> None:
    """Encode images and decode them again, to PNGs; the same command again resumes."""
    from tasks.codes.files import WORK

    job = run.job(seed)
    check_apart(data, out)
    check_kind(out, "pictures")  # Before it encodes.
    codes = out / WORK / "codes"
    with _together(job):
        made = encoded(job, data, model or DEFAULT, protocol, codes, "parquet")
        job.world.barrier()  # The codes are written by the main process.
        result = decoded(job, codes, model or DEFAULT, out)
    if result is not None and made is not None:
        _told_pictures(result, out, made[1].record.n_failed, as_json=run.as_json)
        _end(made[1])


def _together(job: Job) -> AbstractContextManager[None]:
    from harness.commands.run import together

    return together(job.world, job.device)


def _rate(result: Finished) -> dict[str, Any]:
    return {"bpp": result.record.value("bpp"), "run": str(result.root)}


def _told_pictures(result: Finished, out: Path, failed: int = 0, *, as_json: bool) -> None:
    record = result.record
    n = record.n - record.n_failed
    facts = {"pictures": str(out), "n": n, "failed": failed + record.n_failed, **_rate(result)}
    _say(facts, f"{counted(n, 'picture')} by {record.model} in {out}", as_json=as_json)
    _end(result)


def _say(facts: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    rate = "" if facts["bpp"] is None else f"{facts['bpp']:.4g} bits a pixel"
    failed = f"{facts['failed']} failed" if facts["failed"] else ""
    more = ", ".join(part for part in (rate, failed) if part)
    line = f"{text} ({more})" if more else text
    terminal().print(line, markup=False, soft_wrap=True, highlight=False)


def _end(result: Finished) -> None:
    if result.record.status is not RunStatus.COMPLETE:
        raise typer.Exit(ExitCode.INCOMPLETE)
