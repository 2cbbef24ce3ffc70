"""Encoding and decoding below one folder: refused before, done by the engine, then written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.commands.outputs import check_apart
from harness.interfaces.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from harness.engine.runner import Finished
    from harness.engine.world import World
    from harness.interfaces import RunRequest
    from tasks.codes.files import CodesHeader, Format


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the three commands share."""

    world: World
    device: str
    batch_size: int | Literal["auto"] | None
    seed: int
    max_failures: int
    limit: int | None
    fresh: bool
    quiet: bool

    def request(
        self, task: str, model: str, data: str | None, protocol: str, out: Path
    ) -> RunRequest:
        """One task below `out`."""
        from harness.interfaces import RunRequest
        from tasks.codes.files import WORK

        return RunRequest(
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

    def run(self, request: RunRequest) -> Finished | None:
        """Carry a request out; None for all but the main process."""
        from harness.commands.run import carry_out
        from harness.engine.runner import run

        finished, _ = carry_out(run, [request], self.world, quiet=self.quiet, go_on=False)
        return next(iter(finished), None)


def encoded(
    job: Job, data: str | None, model: str, protocol: str, out: Path, form: Format
) -> tuple[CodesHeader, Finished] | None:
    """Encode, then write the codes below `out`; None for all but the main process."""
    from harness.engine.run_file import read_run_file
    from tasks.codes.files import CodesHeader, whole, write_codes

    check_apart(data, out)
    check_kind(out, "codes")
    request = job.request("encode", model, data, protocol, out)
    there = None if job.fresh else _there(job, request, out, form)
    result = job.run(request)
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
    same = there is not None and there.model_copy(update={"files": ()}) == header
    if there is not None and same and all(whole(out / each.name, each) for each in there.files):
        return there, result
    return write_codes(out, header, _rows(result.root)), result


def check_kind(out: Path, kind: Literal["codes", "pictures"]) -> None:
    """Raise `UserError` where `--out` holds the other kind, or a command that was cut began it."""
    from tasks.codes.files import HEADER, WORK

    other, writer, signs = "pictures", "decode` or `reconstruct", [f"{WORK}/decode-*"]
    if kind == "pictures":
        other, writer, signs = "codes", "encode", [HEADER, f"{WORK}/encode-*"]
    if any(any(out.glob(sign)) for sign in signs):
        raise UserError(
            f"--out {out} holds {other} of `uwt-eval {writer}`: give another --out for {kind}"
        )


def _there(job: Job, request: RunRequest, out: Path, form: Format) -> CodesHeader | None:
    """The codes that lie there already; raise `UserError` where they are others."""
    from harness.engine.plan import make_plan
    from tasks.codes.files import HEADER, read_header

    if not (out / HEADER).is_file():
        return None
    there = read_header(out)
    file = make_plan(request, job.world).file
    theirs = f"{there.n + there.failed} of {there.dataset}"
    ours = f"{len(file.samples)} of {file.dataset}"
    asked = {
        "another model": (
            (there.model.digest, there.model.title),
            (file.model.digest, file.model.title),
        ),
        "other images": ((there.dataset_digest, theirs), (file.dataset_digest, ours)),
        "another --protocol": (
            (there.protocol_digest, there.protocol),
            (file.protocol.digest, file.protocol.name),
        ),
        "another --format": ((there.format, there.format), (form, form)),
    }
    others = [
        f"{what} ({name}{' as it is now' if name == before else ''})"
        for what, ((digest, before), (digest_now, name)) in asked.items()
        if digest != digest_now
    ]
    if others:
        raise UserError(
            f"{out} holds codes of {there.dataset} by {there.model.title}, those asked for have "
            f"{' and '.join(others)}: give another --out, or --fresh to replace them"
        )
    return there


def _rows(root: Path) -> Iterator[pa.Table]:
    """What a run has of the images that were encoded, a block at a time."""
    import pyarrow.compute as pc

    from harness.data.manifest import blocks
    from harness.data.store import Store
    from harness.engine.run_file import read_run_file
    from tasks.codes.files import SCHEMA

    file, store = read_run_file(root), Store(root)
    for index, block in enumerate(blocks(file.samples, file.block_size)):
        table = store.read_part("outputs", index, file.output_key(block), len(block))
        if table is None:
            raise UserError(f"{root} has lost block {index}: run the same command again")
        yield table.filter(pc.equal(table["status"], "ok")).select(SCHEMA.names).cast(SCHEMA)


def decoded(job: Job, codes: Path, model: str | None, out: Path) -> Finished | None:
    """Decode, then link the pictures below `out`; None for all but the main process."""
    from harness.data.store import link
    from tasks.codes.data import CodesToDecode
    from tasks.codes.files import WORK, open_codes

    check_kind(out, "pictures")
    found = open_codes(codes)
    if model is None:
        _check_plugin(codes, found.header)
    request = job.request("decode", model or found.header.choice, str(codes), "whole", out)
    if not job.fresh:
        _refuse_others(out, out / WORK, CodesToDecode(found, codes.name).picture_names())
    others = _other_pictures(job, request, out)
    result = job.run(request)
    if result is None:
        return None
    for other in others:
        _take_away(other, out)
    pictures = result.root / "images"
    for source in sorted(path for path in pictures.rglob("*.png") if path.is_file()):
        target = out / source.relative_to(pictures)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and target.samefile(source)):
            link(source, target)
    return result


def _check_plugin(codes: Path, header: CodesHeader) -> None:
    """Raise `UserError` where the model came by a `--plugin` that is not given now."""
    from harness.engine.models import ModelChoice
    from harness.interfaces.registry import MODELS

    if header.model.code_sha256 and ModelChoice.parse(header.choice).name not in MODELS:
        raise UserError(
            f"{codes}: {header.choice!r} made these codes, a model of a plug-in that is not here: "
            "give --plugin FILE as `uwt-eval encode` had it, or install what offers it"
        )


def _refuse_others(out: Path, work: Path, names: Sequence[str]) -> None:
    """Raise `UserError` where a file would be replaced that no such command has written."""
    runs = list(work.glob("decode-*"))
    for name in names:
        target = out / name
        if target.exists() and not any(_same(run / "images" / name, target) for run in runs):
            raise UserError(
                f"{target} is there, and not as this command writes it: give another --out, or "
                "--fresh to replace it"
            )


def _other_pictures(job: Job, request: RunRequest, out: Path) -> list[Path]:
    """The runs whose pictures of other codes lie in `out`; raise `UserError` but for `--fresh`."""
    from harness.engine.plan import make_plan
    from tasks.codes.files import WORK

    runs = [run for run in (out / WORK).glob("decode-*") if (run / "images").is_dir()]
    if not runs:
        return []
    own = make_plan(request, job.world).root
    others = [run for run in runs if run.name != own.name]
    if others and not job.fresh:
        raise UserError(
            f"{out} holds pictures of other codes or by another model: give another --out, or "
            "--fresh to replace them"
        )
    return others


def _take_away(run: Path, out: Path) -> None:
    """Remove the pictures of another run, as far as they are still its own, then the run."""
    pictures = run / "images"
    for source in pictures.rglob("*.png"):
        if _same(source, target := out / source.relative_to(pictures)):
            target.unlink()
    shutil.rmtree(run, ignore_errors=True)


def _same(ours: Path, target: Path) -> bool:
    """Whether a file is a link to ours, or a copy."""
    if not (ours.is_file() and target.is_file()):
        return False
    return ours.samefile(target) or ours.read_bytes() == target.read_bytes()
