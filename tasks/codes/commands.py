"""`uwt-eval encode`, `decode` and `reconstruct`: a tokenizer over files, on any number of GPUs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.commands.console import Batch, Json, Plugins, batch_of, terminal
from harness.interfaces.errors import ExitCode, UserError
from harness.interfaces.registry import load_plugins
from harness.interfaces.types import RunStatus

if TYPE_CHECKING:
    import pyarrow as pa

    from harness.engine.runner import Finished
    from harness.engine.world import World
    from tasks.codes.files import CodesHeader

Format = Literal["parquet", "webdataset"]
WORK = ".work"
"""Below --out: the run directories, from which a command that was cut goes on."""

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


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What the three commands share."""

    world: World
    device: str
    batch_size: int | Literal["auto"] | None
    seed: int
    max_failures: int
    limit: int | None
    fresh: bool
    quiet: bool

    def run(self, task: str, model: str, data: str | None, protocol: str, out: Path) -> Any:
        """Carry one task out below `out`; None for all but the main process."""
        from harness.commands.run import carry_out
        from harness.engine.runner import run
        from harness.interfaces import RunRequest

        request = RunRequest(
            task=task,
            model=model,
            protocol=protocol,
            data=data,
            limit=self.limit,
            seed=self.seed,
            device=self.device,
            batch_size=self.batch_size,
            max_failures=self.max_failures,
            fresh=self.fresh,
            out=out / WORK,
        )
        finished, _ = carry_out(run, [request], self.world, quiet=self.quiet, go_on=False)
        return next(iter(finished), None)


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
        finished = _encoded(job, data, model or "uniwetok-nano", protocol, out, format_)
    if finished is None:
        return
    header, result = finished
    facts = {"codes": str(out), "n": header.n, "failed": header.failed, **_rate(result)}
    files = f"{len(header.files)} {format_} file{'s' * (len(header.files) != 1)}"
    _say(facts, f"{header.n} images of {header.dataset} by {header.model.title}: {files} in {out}",
         as_json=as_json)  # fmt: skip
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
        result = _decoded(job, codes, model, out)
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
    codes = out / WORK / "codes"
    with _together(job):
        encoded = _encoded(job, data, model or "uniwetok-nano", protocol, codes, "parquet")
        job.world.barrier()  # The codes are written by the main process.
        result = _decoded(job, codes, model or "uniwetok-nano", out)
    if result is not None and encoded is not None:
        _told_pictures(result, out, as_json=as_json)
        _end(encoded[1])


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
) -> _Job:
    from harness.engine.world import World

    load_plugins(plugins)
    return _Job(
        world=World.from_environment(),
        device=device,
        batch_size=batch_of(batch_size),
        seed=seed,
        max_failures=max_failures,
        limit=limit,
        fresh=fresh,
        quiet=quiet,
    )


def _together(job: _Job) -> Any:
    from harness.commands.run import together

    return together(job.world, job.device)


def _encoded(
    job: _Job, data: str | None, model: str, protocol: str, out: Path, form: Format
) -> tuple[CodesHeader, Finished] | None:
    """Encode, then write the codes below `out`; None for all but the main process."""
    from harness.engine.plan import read_run_file
    from tasks.codes.files import CodesHeader, write_codes

    there = None if job.fresh else _there(out, model)
    result = job.run("encode", model, data, protocol, out)
    if result is None:
        return None
    file = read_run_file(result.root)
    header = CodesHeader(
        model=file.model,
        choice=model,
        protocol=file.protocol.name,
        protocol_digest=file.protocol.digest,
        dataset=file.dataset,
        dataset_digest=file.dataset_digest,
        failed=result.record.n_failed,
        format=form,
        files=(),
    )
    if there is not None:
        if there.model_copy(update={"files": ()}) != header:
            raise UserError(
                f"{out} holds codes of other images, {there.dataset}, or with other settings: give "
                "another --out, or --fresh to replace them"
            )
        if all((out / each.name).is_file() for each in there.files):
            return there, result
    return write_codes(out, header, _rows(result.root)), result


def _there(out: Path, model: str) -> CodesHeader | None:
    """The codes that lie there already; raise `UserError` where they are another model's."""
    from harness.engine.models import ModelChoice
    from tasks.codes.files import HEADER, read_header

    if not (out / HEADER).is_file():
        return None
    there = read_header(out)
    choice = ModelChoice.parse(model)
    if choice.card(choice.build()).digest != there.model.digest:
        raise UserError(
            f"{out} holds codes by {there.model.title}, not by {model}: give another --out, or "
            "--fresh to replace them"
        )
    return there


def _rows(root: Path) -> Iterator[pa.Table]:
    """What a run has of the images that were encoded, a block at a time."""
    import pyarrow.compute as pc

    from harness.data.manifest import blocks
    from harness.data.store import Store
    from harness.engine.plan import read_run_file
    from tasks.codes.files import SCHEMA

    file, store = read_run_file(root), Store(root)
    for index, block in enumerate(blocks(file.samples, file.block_size)):
        table = store.read_part("outputs", index, file.output_key(block), len(block))
        if table is None:
            raise UserError(f"{root} has lost block {index}: run the same command again")
        yield table.filter(pc.equal(table["status"], "ok")).select(SCHEMA.names).cast(SCHEMA)


def _decoded(job: _Job, codes: Path, model: str | None, out: Path) -> Finished | None:
    """Decode, then link the pictures below `out`; None for all but the main process."""
    from harness.data.store import link
    from tasks.codes.files import read_header

    choice = model or read_header(codes).choice
    result: Finished | None = job.run("decode", choice, str(codes), "whole", out)
    if result is None:
        return None
    pictures = result.root / "images"
    for source in sorted(pictures.rglob("*.png")):
        target = out / source.relative_to(pictures)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and target.samefile(source)):
            link(source, target)
    return result


def _rate(result: Finished) -> dict[str, Any]:
    return {"bpp": result.record.value("bpp"), "run": str(result.root)}


def _told_pictures(result: Finished, out: Path, *, as_json: bool) -> None:
    record = result.record
    n = record.n - record.n_failed
    facts = {"pictures": str(out), "n": n, "failed": record.n_failed, **_rate(result)}
    _say(facts, f"{n} pictures by {record.model} in {out}", as_json=as_json)
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
