"""A run in shards, where machines share no folder: each works on its blocks, then all are merged.

A merged run has every block from exactly one run directory, with all that was observed there. The
first directory, in the order given, that has it whole and without a failure that may pass is taken;
others that have it must have the same.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.data.manifest import blocks
from harness.data.store import (
    SAMPLES_FILE,
    Store,
    check_folder,
    discard_damaged_images,
    has_images,
    images_name,
)
from harness.engine import provenance
from harness.engine.agreement import differences, facts_of
from harness.engine.observed import ObservedRun, keep_share, settle
from harness.engine.progress import Progress
from harness.engine.run_file import RunFile, read_run_file
from harness.engine.runner import begin, carried_out, conclude, first_errors, performed
from harness.engine.score import Merged, failed_in
from harness.engine.world import World, parse_shard
from harness.interfaces import Performed, RunRequest, TaskData
from harness.interfaces.errors import UserError
from harness.interfaces.registry import TASKS
from harness.interfaces.types import TRIED_AGAIN, ResultRecord, Sample, Status

_OWN = (
    *("shard", "command", "machine", "started", "finished", "seconds", "world_size", "batch_size"),
    *("weights", "memory"),
)
"""What of a run's provenance is one shard's own."""


@dataclass(frozen=True, slots=True)
class FinishedShard:
    """A shard whose work is done; merging makes the result of all."""

    title: str
    root: Path
    n: int
    """Samples of the shard."""
    n_run: int
    """Samples of the whole run."""
    complete: bool
    """Whether no more samples failed than may."""
    notice: str
    first_errors: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What a script wants to know."""
        return {
            "shard": self.title,
            "directory": str(self.root),
            "n": self.n,
            "n_run": self.n_run,
            "complete": self.complete,
        }


def run_shard(request: RunRequest, world: World, progress: Progress) -> FinishedShard | None:
    """Carry out the world's shard of a request; only the main process returns something.

    Raises:
        UserError: As of a run.
    """
    task = TASKS.get(request.task)
    if isinstance(task, Performed):
        return _shard_performed(task, request, world, progress)
    begun = begin(request, world, progress)
    with carried_out(begun, request, world, progress) as done:
        if done is None:
            return None
        file = done.plan.file
        done.store.write_record("run.json", file.model_copy(update={"provenance": done.facts}))
        merged = Merged(file, done.store)
    shard = World(shard=world.shard, shards=world.shards)
    share = shard.share(blocks(file.samples, file.block_size))
    rows = merged.rows.iloc[[sample.index for block in share for sample in block]]
    return FinishedShard(
        title=shard.title,
        root=done.plan.root,
        n=len(rows),
        n_run=len(file.samples),
        complete=bool((rows["status"] != Status.OK).sum() <= file.max_failures),
        notice=file.notice,
        first_errors=first_errors(failed_in(rows)),
    )


def _shard_performed(
    task: Performed, request: RunRequest, world: World, progress: Progress
) -> FinishedShard | None:
    """The same where another program does the work."""
    with performed(task, request, world, progress) as given:
        if given is None:
            return None
        store, rows, asked, facts = given
        keep_share(store, rows, asked, facts, world)
    tried = [
        (sample.id, status.value, error)
        for sample, status, error in zip(rows.samples, rows.statuses, rows.errors, strict=True)
        if status is not Status.MISSING
    ]
    failed = [each for each in tried if each[1] != Status.OK]
    return FinishedShard(
        title=World(shard=world.shard, shards=world.shards).title,
        root=store.root,
        n=len(tried),
        n_run=len(rows.samples),
        complete=len(failed) <= request.max_failures,
        notice=rows.notice,
        first_errors=first_errors(failed),
    )


@dataclass(frozen=True, slots=True)
class MergedRun:
    """The result of directories brought together."""

    record: ResultRecord
    merged: Merged
    root: Path
    left_out: str
    """What could not be written for want of the data; empty where all is there."""


def merge(roots: Sequence[Path], out: Path, data: str | None, progress: Progress) -> MergedRun:
    """Bring run directories of one run together in `out`, and score them; no model is needed.

    Where another program observes, it does so here, of all; then what a shard's directory has
    counts though they were merged in it before.

    What the run's directory in `out` has already counts as one of them.

    Args:
        roots: Run directories.
        out: Where the run directory is made.
        data: Where the data lie, for pictures of them; the task's own place if None.
        progress: Told while data are read.

    Raises:
        UserError: A folder is no run, is in use, or is of another run; a block differs between two,
            or is in none.
    """
    check_folder(out)
    roots = list(dict.fromkeys(root.resolve() for root in roots))
    file = read_run_file(roots[0])
    task = TASKS.get(file.task)
    target = Store(out / file.run_id)
    if (target.root / "run.json").is_file() and target.root.resolve() not in roots:
        roots.append(target.root.resolve())
    files = {root: read_run_file(root) for root in roots}
    parts = files
    if isinstance(task, Performed):
        parts = {root: part for root, part in files.items() if "shard" in part.provenance}
        if not parts:
            raise UserError(f"{roots[0]} is a whole run of {file.task}: there is nothing to merge")
        file = next(iter(parts.values()))
    for root, part in parts.items():
        if different := differences(facts_of(file), facts_of(part)):
            hint = "; give another --out" if root == target.root.resolve() else ""
            raise UserError(f"{root} is of another run than {next(iter(parts))}: {different}{hint}")
    opened = None if isinstance(task, Performed) else open_data(file, data, progress)
    with ExitStack() as locks:
        for root in {target.root.resolve(), *roots}:
            if not root.exists() or os.access(root, os.W_OK):  # Nobody can be at work elsewhere.
                locks.enter_context(Store(root).locked())
                discard_damaged_images(Store(root))
        keeps_images = any(
            (root / SAMPLES_FILE).is_file() or any(root.glob("images/[0-9]*.npz")) for root in roots
        )
        chosen = _choose(file, files, keeps_images=keeps_images)
        _bring(target, file, roots, chosen)
        facts = _facts(list(parts.values()))
        if isinstance(task, Performed):
            observed = ObservedRun(
                task=file.task,
                protocol=file.protocol,
                model=file.model,
                metrics=file.metrics,
                name=file.run_id,
                seed=file.seed,
                max_failures=file.max_failures,
            )
            given = (file.samples, _replies(target, file), list(parts), target.root)
            rows = task.merge(*given, data, progress)
            with progress.scoring():
                return MergedRun(*settle(target, rows, observed, facts), target.root, "")
        target.write_record("run.json", file.model_copy(update={"provenance": facts}))
        with progress.scoring():
            record, merged = conclude(file, target, facts, opened, joins=keeps_images)
    left_out = "" if opened is not None else f"grid.png{', samples.npz' if keeps_images else ''}"
    return MergedRun(record, merged, target.root, left_out)


def _replies(store: Store, file: RunFile) -> list[bytes]:
    """What the shards have of each sample."""
    tables = (
        store.read_part("outputs", index, file.output_key(block), len(block), ["payload"])
        for index, block in enumerate(blocks(file.samples, file.block_size))
    )
    return [reply for table in tables if table for reply in table["payload"].to_pylist()]


def _choose(file: RunFile, files: Mapping[Path, RunFile], *, keeps_images: bool) -> list[Path]:
    """The directory that each block is taken from; raise `UserError` where there is none."""
    chosen: dict[int, Path] = {}
    cut = blocks(file.samples, file.block_size)
    for index, block in enumerate(cut):
        held: dict[Path, dict[str, pa.Table]] = {}
        for root in files:
            tables = _read(Store(root), file, index, block)
            if tables is not None and not (keeps_images and not has_images(Store(root), index)):
                held[root] = tables
        settled = {root: tables for root, tables in held.items() if _settled(tables)}
        for root, tables in (settled or dict(list(held.items())[:1])).items():
            first = chosen.setdefault(index, root)
            for stage, key in file.part_keys(block).items():
                if not _same(held[first][stage], tables[stage]):
                    name = Store.part_name(stage, index, key)
                    raise UserError(
                        f"{first / name} and {root / name} are not the same: remove the one that "
                        "should not count"
                    )
    missing = [index for index in range(len(cut)) if index not in chosen]
    reference = file.reference and not any((root / file.reference_file).is_file() for root in files)
    if missing or reference:
        n = sum(len(cut[index]) for index in missing)
        what = f"{n} of {len(file.samples)} samples" if missing else "the reference's features"
        raise UserError(
            f"{what} are in none of these directories: {_command(files, missing or [0])} makes "
            "them; then merge again"
        )
    return [chosen[index] for index in range(len(cut))]


def _read(
    store: Store, file: RunFile, index: int, block: Sequence[Sample]
) -> dict[str, pa.Table] | None:
    """A block's rows by stage; None where one is missing, or damaged, which is said."""
    tables = {}
    for stage, key in file.part_keys(block).items():
        table = store.read_part(stage, index, key, len(block))
        if table is None:
            return None
        tables[stage] = table
    return tables


def _settled(tables: Mapping[str, pa.Table]) -> bool:
    """Whether nothing failed in a way that may pass."""
    seen = (set(table["status"].to_pylist()) for table in tables.values())
    return all(statuses.isdisjoint(TRIED_AGAIN) for statuses in seen)


def _same(one: pa.Table, other: pa.Table) -> bool:
    """Whether rows are equal to the bit, NaN too; the seconds that a model took never are."""
    return bool(_bits(one).equals(_bits(other)))


def _bits(table: pa.Table) -> pa.Buffer:
    kept = table.select([name for name in table.column_names if name != "seconds"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, kept.schema) as writer:
        writer.write_table(kept)
    return sink.getvalue()


def _command(files: Mapping[Path, RunFile], missing: Sequence[int]) -> str:
    """The command, as one of the directories was made, that makes the missing blocks."""
    origins = [file.provenance for file in files.values()]
    origin = next((each for each in origins if "shard" in each), origins[0])
    words = list(origin.get("command", []))[1:]
    _, shards = parse_shard(origin.get("shard"))
    if shards == 1:
        return f"`uwt-eval {shlex.join(words)}`"
    numbers = sorted({index % shards + 1 for index in missing})
    at = next((at for at, word in enumerate(words) if word == "--shard"), None)
    if at is not None:
        words[at : at + 2] = []
    words = [word for word in words if not word.startswith("--shard=")]
    more = f" (and {', '.join(f'{number}/{shards}' for number in numbers[1:])})"
    command = shlex.join([*words, "--shard", f"{numbers[0]}/{shards}"])
    return f"`uwt-eval {command}`{more if len(numbers) > 1 else ''}"


def _bring(target: Store, file: RunFile, roots: Sequence[Path], chosen: Sequence[Path]) -> None:
    """Link every block from the directory chosen for it, and what else the directories have."""
    own = target.root.resolve()
    for index, block in enumerate(blocks(file.samples, file.block_size)):
        root = chosen[index]
        if root == own:
            continue
        for stage, key in file.part_keys(block).items():
            target.take(root, Store.part_name(stage, index, key))
        if (root / images_name(index)).is_file():
            target.take(root, images_name(index))
    for root in roots:
        if root != own:
            target.adopt(root, ["images", "pictures", SAMPLES_FILE, file.reference_file])


def _facts(files: Sequence[RunFile]) -> dict[str, Any]:
    """The provenance of the result: what all have in common, then each one's own."""
    parts: list[dict[str, Any]] = []
    for file in files:
        facts = file.provenance
        parts += facts.get("shards", [{name: facts[name] for name in _OWN if name in facts}])
    kept = {name: fact for name, fact in files[0].provenance.items() if name not in _OWN}
    return {
        **kept,
        "command": provenance.command(),
        "machine": files[0].provenance.get("machine", {}),
        "merged": provenance.now(),
        "shards": [part for at, part in enumerate(parts) if part not in parts[:at]],
    }


def open_data(file: RunFile, data: str | None, progress: Progress) -> TaskData | None:
    """The run's data if they are here; raise `UserError` where other data are named."""
    if "images" in file.provenance:
        return None  # Of images made elsewhere too it would have to be known where they are.
    try:
        found: TaskData = TASKS.get(file.task).open(data, file.protocol)
        # What the run was limited to is known by its number of samples, or it was not limited.
        for limit in (len(file.samples), None):
            with progress.listing() as on_listing:
                if tuple(found.samples(limit, on_listing)) == file.samples:
                    return found
    except UserError:
        if data is not None:
            raise
        return None
    if data is not None:
        raise UserError(f"--data {data}: not the data of this run, {file.dataset}")
    return None
