"""`uwt-eval encode`, `decode` and `reconstruct`: a tokenizer over files, on any number of GPUs."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.commands.console import Batch, Json, Plugins, batch_of, terminal
from harness.interfaces.errors import ExitCode
from harness.interfaces.registry import load_plugins
from harness.interfaces.types import RunStatus
from tasks.codes.job import Job, check_apart, decoded, encoded

if TYPE_CHECKING:
    from harness.engine.runner import Finished

Format = Literal["parquet", "webdataset"]
Data = Annotated[str | None, typer.Argument(help="Folder, .zip, .tar or Hugging Face dataset.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="NAME[:ARGUMENT][?key=value&…], a tokenizer or codec."),
]
Pixels = Annotated[
    str,
    typer.Option(help="Which pixels: whole, crop-256 or a .toml file."),
]
FormatOption = Annotated[Format, typer.Option("--format", help="Files of tables, or tar shards.")]
Limit = Annotated[int | None, typer.Option(help="A fixed choice of this many images.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Seed = Annotated[int, typer.Option(help="Seed of a decoder's noise.")]
Failures = Annotated[int, typer.Option(help="Images that may fail.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do everything again, whatever is there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


def encode(
    data: Data = None,
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the codes.")] = Path("codes"),
    format_: FormatOption = "parquet",
    protocol: Pixels = "whole",
    limit: Limit = None,
    device: Device = "auto",
    batch_size: Batch = None,
    max_failures: Failures = 0,
    fresh: Fresh = False,
    plugin: Plugins = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode images to files of codes; the same command again resumes.

    Without a model the small tokenizer that ships is taken, without data the sample set.
    """
    job = _job(device, batch_size, 0, max_failures, limit, plugin, fresh=fresh, quiet=quiet)
    with _together(job):
        finished = encoded(job, data, model or "uniwetok-nano", protocol, out, format_)
    if finished is None:
        return
    header, result = finished
    facts = {"codes": str(out), "n": header.n, "failed": header.failed, **_rate(result)}
    files = counted(len(header.files), f"{format_} file")
    what = f"{counted(header.n, 'image')} of {header.dataset} by {header.model.title}"
    _say(facts, f"{what}: {files} in {out}", as_json=as_json)
    _end(result)


def decode(
    codes: Annotated[Path, typer.Argument(help="Folder that `uwt-eval encode` wrote.")],
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("decoded"),
    limit: Limit = None,
    device: Device = "auto",
    batch_size: Batch = None,
    seed: Seed = 0,
    max_failures: Failures = 0,
    fresh: Fresh = False,
    plugin: Plugins = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode files of codes to PNGs; the same command again resumes.

    Without a model the one that the codes were made with is taken.
    """
    job = _job(device, batch_size, seed, max_failures, limit, plugin, fresh=fresh, quiet=quiet)
    with _together(job):
        result = decoded(job, codes, model, out)
    if result is not None:
        _told_pictures(result, out, as_json=as_json)


def reconstruct(
    data: Data = None,
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("reconstructed"),
    protocol: Pixels = "whole",
    limit: Limit = None,
    device: Device = "auto",
    batch_size: Batch = None,
    seed: Seed = 0,
    max_failures: Failures = 0,
    fresh: Fresh = False,
    plugin: Plugins = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode images and decode them again, to PNGs; the same command again resumes."""
    job = _job(device, batch_size, seed, max_failures, limit, plugin, fresh=fresh, quiet=quiet)
    from tasks.codes.files import WORK

    check_apart(data, out)
    codes = out / WORK / "codes"
    with _together(job):
        codes_made = encoded(job, data, model or "uniwetok-nano", protocol, codes, "parquet")
        job.world.barrier()  # The codes are written by the main process.
        result = decoded(job, codes, model or "uniwetok-nano", out)
    if result is not None and codes_made is not None:
        _told_pictures(result, out, codes_made[1].record.n_failed, as_json=as_json)
        _end(codes_made[1])


def _job(
    device: str,
    batch_size: str | None,
    seed: int,
    max_failures: int,
    limit: int | None,
    plugins: list[Path] | None,
    *,
    fresh: bool,
    quiet: bool,
) -> Job:
    from harness.engine.world import World

    load_plugins(plugins)
    return Job(
        world=World.from_environment(),
        device=device,
        batch_size=batch_of(batch_size),
        seed=seed,
        max_failures=max_failures,
        limit=limit,
        fresh=fresh,
        quiet=quiet,
    )


def _together(job: Job) -> AbstractContextManager[None]:
    from harness.commands.run import together

    return together(job.world, job.device)


def counted(count: int, noun: str) -> str:
    """A number of things in words: 1 image, 2 images."""
    return f"{count} {noun}{'s' * (count != 1)}"


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
