"""One run from request to record: plan, lock, share, work, merge, score, write.

Every protocol has a run directory and a record of its own. What a new one would make again, because
only its scoring or observing differs, is linked from the run beside it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.assets import fetched_on_need
from harness.data.images import whole_picture
from harness.data.manifest import blocks
from harness.data.store import SAMPLES_FILE, Store, discard_damaged_images, join_images
from harness.engine import provenance
from harness.engine.plan import Plan, make_plan
from harness.engine.progress import Progress
from harness.engine.run_file import RunFile, read_run_file
from harness.engine.work import Worker
from harness.engine.world import World, lanes_for, reproducible, resolve_device
from harness.interfaces import (
    ClassConditional,
    Concluding,
    GenerativeTaskData,
    Performed,
    Picture,
    Preflighted,
    RunRequest,
    TaskData,
)
from harness.interfaces.errors import UserError, warn
from harness.interfaces.observing import on_device
from harness.interfaces.registry import TASKS
from harness.interfaces.types import ResultRecord, Stage

if TYPE_CHECKING:
    from harness.engine.observed import ObservedRun
    from harness.engine.score import Failed, Merged
    from harness.interfaces import ObservedRows

_WAITING_LANES = 8
"""Least lanes where they mostly wait for answers from elsewhere."""
_OUTPUTS = ("outputs", "images", "pictures", SAMPLES_FILE)
"""What `generate` leaves, with the pictures that are made of it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that came to its end."""

    record: ResultRecord
    root: Path
    notice: str
    first_errors: tuple[str, ...]
    timings: dict[str, float]


@dataclass(frozen=True, slots=True)
class Begun:
    """A run whose plan is made."""

    plan: Plan
    started: str
    clock: float


@dataclass(frozen=True, slots=True)
class Done:
    """Work that is done, with the run directory still locked."""

    plan: Plan
    store: Store
    facts: dict[str, Any]


def run(request: RunRequest, world: World, progress: Progress) -> Finished | None:
    """Carry a request out, or what is still missing of it; only the main process returns a result.

    Raises:
        UserError: Bad input, a directory in use, a full disk.
    """
    Store(request.out).check_place()
    task = TASKS.get(request.task)
    if isinstance(task, Performed):
        from harness.engine.observed import settle

        with performed(task, request, world, progress) as given:
            if given is None:
                return None
            store, rows, asked, facts = given
            record, merged = settle(store, rows, asked, facts)
        return Finished(
            record, store.root, rows.notice, first_errors(merged.failed), facts["seconds"]
        )
    begun = begin(request, world, progress)
    if not request.fresh and world.size == 1 and (stored := _stored(begun.plan)):
        return stored
    with carried_out(begun, request, world, progress) as done:
        if done is None:
            return None
        plan, facts = done.plan, done.facts
        with progress.scoring():
            record, merged = conclude(
                plan.file, done.store, facts, plan.data, joins=plan.keeps_images
            )
    return Finished(
        record, plan.root, plan.file.notice, first_errors(merged.failed), facts["seconds"]
    )


def by_task(requests: Sequence[RunRequest]) -> Iterator[RunRequest]:
    """The requests in order; metric networks stay while models of one task follow one another."""
    from harness.metrics.extractors import networks_kept

    for _, same in itertools.groupby(requests, key=lambda request: request.task):
        several = list(same)
        with networks_kept() if len(several) > 1 else nullcontext():
            yield from several


def begin(request: RunRequest, world: World, progress: Progress) -> Begun:
    """Plan a request for the device that is likely its: without torch, which may not be needed.

    Weights that its metrics need and that lie nowhere are downloaded.
    """
    started, clock = provenance.now(), time.perf_counter()
    with progress.listing() as on_listing, fetched_on_need(progress):
        return Begun(make_plan(request, world, on_listing), started, clock)


def _stored(plan: Plan) -> Finished | None:
    """The result of a run that is finished already, where it is known what it is."""
    if not (plan.root / "record.json").is_file():
        return None
    from harness.engine.stored import stored_result

    store = Store(plan.root)
    with store.locked():
        if plan.keeps_images:
            discard_damaged_images(store)
        found = stored_result(plan, store)
    if found is None:
        return None
    record, failed = found
    seconds = record.provenance.get("seconds", {})
    return Finished(record, plan.root, plan.file.notice, first_errors(failed), seconds)


@contextmanager
def carried_out(
    begun: Begun, request: RunRequest, world: World, progress: Progress
) -> Iterator[Done | None]:
    """Do the share of this process; within, all have done theirs; None for all but the main one."""
    plan = _with_origin(_on_device(begun.plan, request, world), world)
    if world.size > 1:
        from harness.engine.agreement import agree

        agree(plan.file, world)
    store = Store(plan.root)
    if not world.is_main:
        world.barrier()
        _work(plan, store, world, progress)
        world.barrier()
        yield None
        return
    with store.locked():
        if request.fresh:
            store.clear()
        else:
            share(store, plan.file)
        if plan.keeps_images:
            discard_damaged_images(store)
        store.write_record("run.json", plan.file)
        world.barrier()
        worker = _work(plan, store, world, progress)
        world.barrier()
        facts = {
            **plan.file.provenance,
            "started": begun.started,
            "finished": provenance.now(),
            "world_size": world.size,
            "batch_size": worker.batches.size,
            **({"model_precision": plan.model_precision} if plan.device != "cpu" else {}),
            **_memory(plan, worker),
            "weights": getattr(plan.model, "loaded", ""),
            "seconds": {**worker.timings.seconds, "total": time.perf_counter() - begun.clock},
        }
        if world.shard == 0:
            _keep_reference(plan, store, progress)
        yield Done(plan, store, facts)


def conclude(
    file: RunFile, store: Store, facts: dict[str, Any], data: TaskData | None, *, joins: bool
) -> tuple[ResultRecord, Merged]:
    """Score a run whose work is done, write the result, then what people look at.

    Args:
        file: What the run is.
        store: Where its files lie, locked.
        facts: The record's provenance.
        data: The task's; None where they are not at hand: then there is the result alone.
        joins: Whether the run keeps all images, which become one file.
    """
    from harness.engine.score import score, write_result

    # By this a grid is missed though all of its pictures are gone too.
    drawn = any((store.root / name).exists() for name in ("pictures", "grid.png"))
    record, merged = score(file, store, {**facts, **({"grid": True} if drawn else {})})
    write_result(store, record, merged)
    if data is None:
        return record, merged
    if joins and merged.ok.all():
        classes = None
        if isinstance(data, ClassConditional):
            classes = [data.class_of(sample) for sample in file.samples]
        join_images(store, len(blocks(file.samples, file.block_size)), classes)
    if pictures := _pictures(file, store, merged):
        store.write("grid.png", lambda path: data.illustrate(pictures, path))
    if isinstance(data, Concluding):
        data.conclude(store.root, merged.rows)
    return record, merged


def _on_device(plan: Plan, request: RunRequest, world: World) -> Plan:
    """The plan for the device that torch finds; where it is another, nothing is read again."""
    device = resolve_device(request.device, world)
    return plan if device == plan.device else make_plan(request, world, device=device)


def _with_origin(plan: Plan, world: World) -> Plan:
    """The plan whose file says where results come from: this command, code, machine and shard."""
    facts = {**provenance.collect(plan.device), **_shard_of(world), **plan.file.provenance}
    return replace(plan, file=plan.file.model_copy(update={"provenance": facts}))


def _shard_of(world: World) -> dict[str, str]:
    return {"shard": f"{world.shard + 1}/{world.shards}"} if world.shards > 1 else {}


def share(store: Store, file: RunFile) -> None:
    """Link the outputs, and the observations where they are the same, into a run that is new."""
    for root, twin in twins(store.root, file):
        store.adopt(root, _OUTPUTS)
        if twin.protocol.digests[Stage.OBSERVE] == file.protocol.digests[Stage.OBSERVE]:
            store.adopt(root, ["observations"])
            if twin.reference == file.reference:
                store.adopt(root, [file.reference_file])


def twins(root: Path, file: RunFile) -> Iterator[tuple[Path, RunFile]]:
    """Runs beside `root` with the very same outputs; none where there is a run at `root` already.

    Outputs are found by their keys, which hold task, model, samples, seed and what of the protocol
    is about generating. The first block is looked for before a run's file is read.
    """
    if (root / "run.json").is_file():
        return
    cut = blocks(file.samples, file.block_size)
    keys = [file.output_key(block) for block in cut]
    for found in sorted(root.parent.glob(f"{file.task}-*/run.json")):
        if not Store(found.parent).has_part("outputs", 0, keys[0], len(cut[0])):
            continue
        try:
            twin = read_run_file(found.parent)
        except UserError:
            continue  # It was left by another version.
        if keys == [twin.output_key(block) for block in blocks(twin.samples, twin.block_size)]:
            yield found.parent, twin


@contextmanager
def performed(
    task: Performed, request: RunRequest, world: World, progress: Progress
) -> Iterator[tuple[Store, ObservedRows, ObservedRun, dict[str, Any]] | None]:
    """Let another program do the work, or a shard of it; None for all but the main process.

    Within, the run directory is locked: what was observed is to be kept like imported rows.
    """
    from harness.engine.observed import performed_run

    started, clock = provenance.now(), time.perf_counter()
    run, model, device = performed_run(request, world)
    if run.name != (theirs := world.broadcast(run.name if world.is_main else None)):
        raise UserError(
            f"the machine of process {world.rank} would do {run.name}, that of process 0 {theirs}"
        )
    store = Store(request.out / run.name)
    given = (request, run.protocol, model, device, store.root, progress, world)
    if not world.is_main:
        world.barrier()
        task.perform(*given)
        yield None
        return
    with store.locked():
        if request.fresh:
            store.clear()
        world.barrier()
        rows = task.perform(*given)
        assert rows is not None
        facts = {
            **provenance.collect(device),
            **_shard_of(world),
            "started": started,
            "finished": provenance.now(),
            "world_size": world.size,
            "seconds": {"total": time.perf_counter() - clock},
        }
        yield store, rows, run, facts


def _memory(plan: Plan, worker: Worker) -> dict[str, str]:
    """What the record says where memory ended, or how much of it was looked for."""
    asked, taken = plan.batch_size, worker.batches.size
    if plan.most_batch is not None:
        end = worker.batches.too_many
        tried = f"{end} did not fit" if end else f"at most {plan.most_batch} were tried"
        return {"memory": f"--batch-size auto: batches of {taken}, {tried}"}
    if taken == asked:
        return {}
    return {"memory": f"out of GPU memory at batches of {asked}, went on with {taken}"}


def _work(plan: Plan, store: Store, world: World, progress: Progress) -> Worker:
    with reproducible(plan.device) as cores:
        worker = Worker(plan, store, world, lanes_of(plan, cores))
        total = sum(len(block) for _, block in worker.share)
        with progress.samples(plan.file.model.title, total, world) as advance:
            worker.run(advance)
    if world.is_main and worker.doubtful_range:
        warn(worker.doubtful_range)
    return worker


def lanes_of(plan: Plan, cores: int) -> int:
    """Blocks worked on at a time, each by a thread of its own."""
    lanes = lanes_for(plan.device if on_device(plan.model) else "cpu", cores)
    waits = any(isinstance(extractor, Preflighted) for extractor in plan.extractors.values())
    return max(lanes, _WAITING_LANES) if waits else lanes


def _keep_reference(plan: Plan, store: Store, progress: Progress) -> None:
    """Keep what a generated set is compared with, so that it can be scored again without it."""
    data, name = plan.data, plan.file.reference_file
    if not (isinstance(data, GenerativeTaskData) and plan.file.reference):
        return
    from harness.metrics.extractors import FeatureExtractor
    from harness.metrics.features import ReferenceFeatures

    wanted = {
        extractor.output
        for extractor in plan.extractors.values()
        if isinstance(extractor, FeatureExtractor) and extractor.originals
    }
    # A run that metrics are added to lacks the features of their networks.
    if not wanted <= ReferenceFeatures.outputs_in(store.root / name):
        store.write(name, data.reference(plan.extractors, plan.device, progress).write)


def _pictures(file: RunFile, store: Store, merged: Merged) -> list[Picture]:
    pictures = []
    measured = merged.rows.drop(columns=["height", "width", "bits"]).select_dtypes("number")
    for path in sorted((store.root / "pictures").glob("*.png")):
        sample = file.samples[int(path.stem)]
        if merged.ok[sample.index] and whole_picture(path):
            values = {
                str(name): float(cells.iloc[sample.index]) for name, cells in measured.items()
            }
            pictures.append(Picture(sample, path, values))
    return pictures


def first_errors(failed: Sequence[Failed], most: int = 5) -> tuple[str, ...]:
    """Why the first samples failed, for people: a line for all that failed alike."""
    alike: dict[tuple[str, str], list[str]] = {}
    for sample, status, error in failed:
        alike.setdefault((status, error), []).append(sample)
    lines = []
    for (status, error), samples in alike.items():
        more = f" and {len(samples) - 3} more" if len(samples) > 3 else ""
        lines.append(f"{', '.join(samples[:3])}{more}: {status}: {error}")
    others = sum(map(len, list(alike.values())[most:]))
    return (*lines[:most], f"… and {others} more") if others else tuple(lines)


def rescore(root: Path, file: RunFile | None = None) -> tuple[ResultRecord, Merged]:
    """Compute a run's result again from its files, without model or data, and write it.

    Args:
        root: The run directory.
        file: What it holds as `run.json`, where that has been read.
    """
    from harness.engine.score import score, write_result

    file = file or read_run_file(root)
    store = Store(root)
    with store.locked():
        facts: dict[str, Any] = {**file.provenance, "scored": provenance.now()}
        record, merged = score(file, store, facts)
        write_result(store, record, merged)
    return record, merged
