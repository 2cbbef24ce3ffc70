"""From what the user asked for to what will be done: names resolved, keys computed, nothing run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from harness.data.manifest import block_size, dataset_digest, step_size
from harness.engine.models import ModelChoice, require
from harness.engine.protocols import in_precision
from harness.engine.run_file import RunFile, earlier_run, run_id, with_earlier
from harness.engine.world import World, likely_device
from harness.interfaces import (
    ComparesFiles,
    Extractor,
    GenerativeTaskData,
    ImageFiles,
    LaidOut,
    Metric,
    Model,
    OfOneModel,
    OnProgress,
    Preflighted,
    RunRequest,
    Task,
    TaskData,
    offers,
)
from harness.interfaces.errors import (
    Unavailable,
    UserError,
    counted,
    did_you_mean,
    first_line,
    warn,
)
from harness.interfaces.observing import on_device
from harness.interfaces.protocols import MODEL_PRECISION, ModelPrecision
from harness.interfaces.registry import EXTRACTORS, METRICS, TASKS, others_code
from harness.interfaces.types import (
    ModelCard,
    Protocol,
    Stage,
    digest_of,
)

_MOST_FOUND = 512
"""Samples up to which a batch grows: their block is in memory, and speed has long ceased to."""


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start."""

    file: RunFile
    model: Model
    data: TaskData
    extractors: Mapping[str, Extractor]
    device: str
    batch_size: int
    root: Path
    most_batch: int | None = None
    """Up to how many samples a batch is to grow while they fit; None where it is not."""

    @property
    def model_precision(self) -> ModelPrecision:
        """What the model computes in; where it works elsewhere the protocol has no say."""
        if not on_device(self.model):
            return "fp32"
        settings = self.file.protocol.settings
        stated: ModelPrecision = settings.get("model_precision", MODEL_PRECISION)
        return stated

    @property
    def keeps_images(self) -> bool:
        """Whether the run stores all images that come out of the model; files it leaves alone."""
        made_here = not offers(self.model, "ImageFiles")
        return made_here and isinstance(self.data, GenerativeTaskData)


def metric(key: str) -> Metric:
    """The metric of that key."""
    found: Metric = METRICS.get(key)
    return found


def make_extractors(
    metrics: Sequence[str], protocol: Protocol, device: str
) -> tuple[dict[str, Extractor], dict[str, str]]:
    """The extractors that metrics need, and why others could not be made, by name."""
    ready: dict[str, Extractor] = {}
    unavailable: dict[str, str] = {}
    for name in dict.fromkeys(need for key in metrics for need in metric(key).needs):
        try:
            # Settings of scoring are out of reach, because stored observations outlive them.
            settings = protocol.until(Stage.OBSERVE)
            with others_code():
                ready[name] = EXTRACTORS.get(name)(settings, device)
        except Unavailable as reason:
            unavailable[name] = reason.status
    return ready, unavailable


def _identity(name: str, extractor: Extractor) -> dict[str, Any]:
    """What an extractor's observations depend on, its code too where that is not ours."""
    code = EXTRACTORS.code(name)
    return {**extractor.identity, **({"code": code} if code else {})}


def _forget_features(extractors: Iterable[Extractor]) -> None:
    from harness.metrics.extractors import FeatureExtractor

    for extractor in extractors:
        if isinstance(extractor, FeatureExtractor):
            extractor.shared.forget()


def resolve(request: RunRequest) -> tuple[Task, Model, ModelCard, Protocol, Sequence[str]]:
    """The task, the model and its card, the protocol and the metrics that a request names.

    Raises:
        UserError: A name or a number that cannot be, or a model that does not fit the task.
    """
    if request.limit is not None and request.limit < 1:
        raise UserError(f"--limit {request.limit}: must be at least 1")
    if isinstance(request.batch_size, int) and request.batch_size < 1:
        raise UserError(f"--batch-size {request.batch_size}: must be at least 1")
    for option, number in (("max-failures", request.max_failures), ("seed", request.seed)):
        if number < 0:
            raise UserError(f"--{option} {number}: must be at least 0")
    task: Task = TASKS.get(request.task)
    keys = tuple(map(METRICS.spelled, request.metrics or ())) or task.spec.metrics
    for key in keys:
        if key not in METRICS:
            raise UserError(
                f"unknown metric {key!r}: "
                f"{did_you_mean(key, task.spec.metrics, METRICS.names())}; "
                "`uwt-eval list metrics` has others"
            )
        METRICS.get(key)
    choice = ModelChoice.parse(request.model)
    model = choice.build()
    require(model, choice.name, task.spec.interfaces, task.spec.name)
    protocol = request.protocol
    if protocol is None:
        protocol = _own_protocol(model, choice.name, task)
    found = task.protocol(protocol)
    if request.model_precision is not None:
        found = in_precision(found, request.model_precision, task.spec)
    return task, model, choice.card(model), found, keys


def _block_size(device: str, samples: int, batch: int, waits: bool, earlier: RunFile | None) -> int:
    """Samples a block: those of the run that is resumed, where its networks saw the same batches.

    Args:
        device: Where the networks are.
        samples: How many there are.
        batch: How many the model is to take at once.
        waits: Whether something elsewhere observes: blocks are small, for outputs are kept before
            it is paid for.
        earlier: What the run directory holds.
    """
    kind = device.partition(":")[0]
    if earlier is not None:
        machine = earlier.provenance.get("machine", {})
        if str(machine.get("device", "")).partition(":")[0] == kind:
            return earlier.block_size
    return step_size(device, batch) if waits else block_size(device, samples, batch)


def _own_protocol(model: Model, name: str, task: Task) -> str:
    """The protocol that the model takes for the task, or else the task's first."""
    try:
        own = getattr(model, "protocols", {}).get(task.spec.name, task.spec.protocols[0])
        if isinstance(own, str):
            return own
        reason = f"{own!r} is no name of one"
    except (Exception, SystemExit) as error:  # A plug-in's own code: it may raise anything.
        reason = f"no mapping of tasks to names ({first_line(error)})"
    raise UserError(f"model {name!r} has no protocol for {task.spec.name!r}: {reason}")


def _check_size(card: ModelCard, data: TaskData, protocol: Protocol) -> None:
    """Refuse a model that cannot do the one size that the protocol evaluates."""
    side = getattr(data, "side", None)
    if side is not None and card.sizes and side not in card.sizes:
        sizes = " and ".join(f"{each}x{each}" for each in card.sizes)
        raise UserError(
            f"model {card.title!r} does {sizes}, protocol {protocol.name!r} evaluates "
            f"{side}x{side}: give --protocol a copy with its size"
        )


def best_batch(model: Model, device: str, usual: int) -> int:
    """Samples a batch that the model states as its best, or the usual number of a GPU."""
    stated = getattr(model, "best_batch", None)
    if device == "cpu" and getattr(model, "works_on", "") != "elsewhere":
        return 1
    if stated is None:
        return usual
    if not isinstance(stated, int) or stated < 1:
        raise UserError(f"a model's best_batch must be a whole number from 1, not {stated!r}")
    return stated


def make_plan(
    request: RunRequest,
    world: World,
    on_listing: OnProgress | None = None,
    device: str | None = None,
) -> Plan:
    """Resolve every name, find the data and digest it; raise `UserError` for what cannot be.

    Args:
        request: What was asked for.
        world: The processes; the main one says which samples there are.
        on_listing: Progress of reading the data for its digests.
        device: Where it is worked on; the likely one, of which torch was not asked, where absent.
    """
    task, model, card, protocol, keys = resolve(request)
    spec = task.spec
    device = device or likely_device(request.device, world)
    data: TaskData
    if offers(model, "ImageFiles") and isinstance(task, ComparesFiles):
        data = task.open_files(request.data, protocol, cast("ImageFiles", model))
    else:
        data = task.open(request.data, protocol)
        if offers(model, "ImageFiles") and isinstance(data, LaidOut):
            data.refuse_other_layout(cast("ImageFiles", model))
    _check_size(card, data, protocol)
    if isinstance(data, OfOneModel):
        data.refuse_other_model(card)
    # A machine may have a copy of its own: the first process of each lists what is there.
    own = data.samples(request.limit, on_listing) if world.local_rank == 0 else None
    samples = world.broadcast(own if world.is_main else None)
    data_digest = dataset_digest(samples)
    if not world.is_main and own is not None and dataset_digest(own) != data_digest:
        raise UserError(
            f"the data on the machine of process {world.rank} are not those of process 0's: "
            f"{counted(len(own), 'sample')} there, {len(samples):,} here, and not all alike; copy "
            "them anew"
        )
    name = run_id(spec.name, card, protocol, data_digest, request.seed)
    (earlier,) = world.broadcast([earlier_run(request.out / name)] if world.is_main else None)
    keys = with_earlier(keys, earlier)
    ready, unavailable = make_extractors(keys, protocol, device)
    if request.fresh:
        _forget_features(ready.values())
    identities = {name: _identity(name, extractor) for name, extractor in ready.items()}
    codes = {name: facts["code"] for name, facts in identities.items() if "code" in facts}
    waits = any(isinstance(each, Preflighted) for each in ready.values())
    batch = best_batch(model, device, step_size(device))
    # On a CPU a batch brings no speed at these sizes, and one image at a time is what makes every
    # sample's bits independent of --batch-size.
    if device != "cpu" and isinstance(request.batch_size, int):
        batch = request.batch_size
    grows = request.batch_size == "auto" and device != "cpu" and on_device(model)
    most = max(batch, min(_MOST_FOUND, len(samples))) if grows else batch
    # Another reference is another result of the same run: nothing is generated anew.
    reference = data.reference_digest if isinstance(data, GenerativeTaskData) else ""
    file = RunFile(
        run_id=name,
        task=spec.name,
        task_version=spec.version,
        protocol=protocol,
        model=card,
        dataset=data.label,
        dataset_digest=digest_of([data_digest, reference]) if reference else data_digest,
        notice=data.notice,
        seed=request.seed,
        block_size=_block_size(device, len(samples), most, waits, earlier),
        max_failures=request.max_failures,
        small_sets=request.small_sets,
        metrics=tuple(keys),
        extractors=identities,
        unavailable=unavailable,
        samples=tuple(samples),
        provenance={"images": "made elsewhere"} if offers(model, "ImageFiles") else {},
        reference=digest_of([reference, codes]) if reference and codes else reference,
        task_code=TASKS.code(spec.name),
    )
    if world.is_main and device != "cpu" and most > file.block_size:
        warn(
            f"{name} was begun in blocks of {file.block_size}: batches are no larger; "
            "--fresh begins anew"
        )
    most = min(most, step_size(device, most), file.block_size)
    return Plan(
        file,
        model,
        data,
        ready,
        device,
        min(batch, most),
        request.out / name,
        most if grows else None,
    )
