"""Observations that were not made by this engine: kept as a run of the usual shape, then scored."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.manifest import blocks, dataset_digest
from harness.engine.plan import metric, resolve
from harness.engine.run_file import RunFile, earlier_run, run_id, with_earlier
from harness.engine.world import World, resolve_device
from harness.interfaces import (
    Code,
    Concluding,
    Model,
    ObservedRows,
    RunRequest,
    ScoresObservations,
    Task,
)
from harness.interfaces.errors import UserError
from harness.interfaces.registry import TASKS
from harness.interfaces.types import ModelCard, Protocol, Status, digest_of

if TYPE_CHECKING:
    from harness.data.store import Store
    from harness.engine.score import Merged
    from harness.interfaces.types import ResultRecord

SOURCE = "observations"
"""Name of a model of which nothing but observations is known."""


@dataclass(frozen=True, kw_only=True)
class ObservedRun:
    """The name of such a run, and what is asked of it."""

    task: str
    protocol: Protocol
    model: ModelCard
    metrics: Sequence[str]
    name: str
    seed: int = 0
    """Seeds the intervals, and the model where it draws."""
    max_failures: int = 0
    """Failed samples up to which the result counts as complete."""


def performed_run(request: RunRequest, world: World) -> tuple[ObservedRun, Model, str]:
    """The run that a task performs itself, its model, and the device; nothing is loaded yet."""
    task, model, card, protocol, metrics = resolve(request)
    asked = digest_of([request.data, request.limit])
    name = run_id(task.spec.name, card, protocol, asked, request.seed)
    run = ObservedRun(
        task=task.spec.name,
        protocol=protocol,
        model=card,
        metrics=with_earlier(metrics, earlier_run(request.out / name)),
        name=name,
        seed=request.seed,
        max_failures=request.max_failures,
    )
    return run, model, resolve_device(request.device, world)


def settle(
    store: Store, rows: ObservedRows, run: ObservedRun, provenance: Mapping[str, Any]
) -> tuple[ResultRecord, Merged]:
    """Write the rows as a run's files, score them, write the result; with the store locked."""
    from harness.engine.score import score, write_result

    file = _run_file(rows, run, provenance)
    _write_parts(store, rows, file)
    store.write_record("run.json", file)
    record, merged = score(file, store, file.provenance)
    write_result(store, record, merged)
    task = TASKS.get(run.task)
    if isinstance(task, Concluding):
        task.conclude(store.root, merged.rows)
    return record, merged


def keep_share(
    store: Store, rows: ObservedRows, run: ObservedRun, provenance: Mapping[str, Any], world: World
) -> RunFile:
    """Write what a shard has of its blocks, to be merged; with the store locked."""
    from harness.engine.items import output_table

    file = _run_file(rows, run, provenance)
    shard = World(shard=world.shard, shards=world.shards)
    for index, block in shard.share(list(enumerate(blocks(file.samples, file.block_size)))):
        first = block[0].index
        of_block = slice(first, first + len(block))
        table = output_table(
            [sample.id for sample in block],
            [status.value for status in rows.statuses[of_block]],
            rows.errors[of_block],
            [Code(reply, 0, 0) for reply in rows.replies[of_block]],
            [0.0] * len(block),
        )
        store.write_part("outputs", index, file.output_key(block), table)
    store.write_record("run.json", file)
    return file


def _run_file(rows: ObservedRows, run: ObservedRun, provenance: Mapping[str, Any]) -> RunFile:
    needs = dict.fromkeys(need for key in run.metrics for need in metric(key).needs)
    return RunFile(
        run_id=run.name,
        task=run.task,
        task_version=TASKS.get(run.task).spec.version,
        protocol=run.protocol,
        model=run.model,
        dataset=rows.label,
        dataset_digest=dataset_digest(rows.samples),
        notice=rows.notice,
        seed=run.seed,
        block_size=rows.together or max(1, len(rows.samples)),
        max_failures=run.max_failures,
        small_sets=False,
        metrics=tuple(run.metrics),
        extractors={name: dict(rows.identities[name]) for name in rows.columns},
        unavailable={
            need: f"not computed: the observations have nothing of {need!r}"
            for need in needs
            if need not in rows.columns
        },
        samples=tuple(rows.samples),
        provenance=dict(provenance),
    )


def _write_parts(store: Store, rows: ObservedRows, file: RunFile) -> None:
    from harness.engine.items import observation_table, output_table

    ids = [sample.id for sample in rows.samples]
    statuses = [status.value for status in rows.statuses]
    for name, columns in rows.columns.items():
        table = observation_table(ids, statuses, rows.errors, columns, range(len(ids)))
        key = file.observation_key(file.samples, name)
        store.write_part(f"observations/{name}", 0, key, table)
    replies = rows.replies or [b""] * len(ids)
    codes = [
        Code(reply, 0, 0) if status == Status.OK else None
        for reply, status in zip(replies, statuses, strict=True)
    ]
    table = output_table(ids, statuses, rows.errors, codes, [0.0] * len(ids))
    store.write_part("outputs", 0, file.output_key(file.samples), table)


def score_file(
    task: str,
    observations: Path,
    *,
    protocol: str | None = None,
    questions: Path | None = None,
    images: Path | None = None,
    out: Path,
    label: str | None = None,
    max_failures: int = 0,
) -> tuple[ResultRecord, Merged, Path]:
    """Score a file of observations made elsewhere, into a run directory below `out`.

    Args:
        task: Name of the task.
        observations: The file.
        protocol: Name or file; the task's first if None.
        questions: A second file that some benchmarks need.
        images: Folder of the pictures that were observed, in the benchmark's layout, for people.
        out: Where the run directory is made.
        label: Name of the model; the file's if None.
        max_failures: Failed samples up to which the result counts as complete.

    Raises:
        UserError: The task takes no such file, or the file is not as it should be.
    """
    from harness.data.digests import DigestCache
    from harness.data.store import Store, link
    from harness.engine import provenance

    plugin: Task = TASKS.get(task)
    if not isinstance(plugin, ScoresObservations):
        scores = TASKS.ask(lambda task: isinstance(task, ScoresObservations))
        able = sorted(name for name, able in scores.items() if able)
        raise UserError(
            f"task {task!r} is not scored from a file of observations; these are: {', '.join(able)}"
        )
    for path in (observations, questions):
        if path is not None and not path.is_file():
            raise UserError(f"{path}: there is no such file")
    if images is not None and not images.is_dir():
        raise UserError(f"--images {images}: there is no such folder")
    settings: Protocol = plugin.protocol(plugin.spec.protocols[0] if protocol is None else protocol)
    rows = plugin.read_observations(observations, settings, questions)
    digest = DigestCache().of_file(observations)
    name = label or observations.stem
    # A label names one model behind several files, so that its results share a row in tables.
    config = {"label": label} if label else {}
    if rows.judged_elsewhere:
        name, config = f"{name} (judged elsewhere)", {**config, "judged": "elsewhere"}
    weights = {} if label else {"weights_sha256": digest}
    model = ModelCard(name=SOURCE, label=name, config=config, **weights)
    run = ObservedRun(
        task=task,
        protocol=settings,
        model=model,
        metrics=plugin.spec.metrics,
        name=run_id(task, model, settings, digest_of([dataset_digest(rows.samples), digest]), 0),
        max_failures=max_failures,
    )
    store = Store(out / run.name)
    with store.locked():
        if images is not None:
            # Links cost nothing, and the run stays whole where the folder goes.
            shutil.copytree(
                images,
                store.root / "images",
                copy_function=lambda source, target: link(Path(source), Path(target)),
                dirs_exist_ok=True,
            )
        facts = {**provenance.collect("cpu"), "scored": provenance.now()}
        if rows.judged_elsewhere:
            facts["judged"] = "elsewhere"
        record, merged = settle(store, rows, run, facts)
    return record, merged, store.root
