"""From what the user asked for to what will be done: names resolved, keys computed, nothing run."""

from __future__ import annotations

import gc
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import Field, ValidationError

from harness.data.digests import Damaged, unsealed
from harness.data.manifest import block_size, dataset_digest, step_size
from harness.engine.models import ModelChoice, require
from harness.engine.protocols import in_precision
from harness.engine.world import World, likely_device
from harness.interfaces import (
    ComparesFiles,
    Extractor,
    GenerativeTaskData,
    ImageFiles,
    LaidOut,
    Metric,
    Model,
    OnProgress,
    Preflighted,
    RunRequest,
    Task,
    TaskData,
    offers,
)
from harness.interfaces.errors import Unavailable, UserError, first_line
from harness.interfaces.observing import on_device
from harness.interfaces.protocols import MODEL_PRECISION, ModelPrecision
from harness.interfaces.registry import EXTRACTORS, METRICS, TASKS, did_you_mean, warn
from harness.interfaces.types import (
    ModelCard,
    Protocol,
    Record,
    Sample,
    Stage,
    canonical_json,
    digest_of,
)

_MOST_FOUND = 512
"""Samples up to which a batch grows: their block is in memory, and speed has long ceased to."""
_quoted = json.encoder.encode_basestring
"""A text as `canonical_json` writes it."""


def sample_seed(run_seed: int, task: str, version: int, sample_id: str) -> int:
    """Seed in [0, 2**63) of a sample's own random stream.

    It depends on the run's seed, the task, its version and the sample's id, and on nothing else, so
    that no number depends on batch, process or restart.
    """
    text = f"{run_seed}\0{task}\0{version}\0{sample_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


class RunFile(Record):
    """`run.json`: what a run directory holds, enough to score it without model or data."""

    run_id: str
    task: str
    task_version: int
    protocol: Protocol
    model: ModelCard
    dataset: str
    dataset_digest: str
    notice: str
    seed: int
    block_size: int
    max_failures: int
    small_sets: bool
    metrics: tuple[str, ...]
    extractors: dict[str, dict[str, Any]] = Field(description="Identity of every one that ran.")
    unavailable: dict[str, str] = Field(description="Extractors that could not run, and why.")
    samples: tuple[Sample, ...]
    provenance: dict[str, Any]
    reference: str = Field(
        default="", description="Digest of the set that a generated set is compared with."
    )
    task_code: str = Field(default="", description="Digest of the task's code if it is not ours.")

    @property
    def reference_file(self) -> str:
        """Name of the file in the run directory that holds the reference's features."""
        return f"reference-{self.reference[:12]}.npz"

    def sample_key(self, sample: Sample, stage: Stage = Stage.GENERATE) -> str:
        """Digest of everything a sample's output depends on; no batch, no process, no path.

        Of the protocol it holds the settings up to a stage: what only a later one reads may change,
        and the files are still found.
        """
        (keys,) = self._sample_keys([sample], [stage])
        return keys[0]

    def _sample_keys(self, block: Sequence[Sample], stages: Iterable[Stage]) -> Iterator[list[str]]:
        """The digests of `[task, version, protocol, id, sha256, model, seed, task's code]` a stage.

        What is the same of all samples is written once: of a million each microsecond counts.
        """
        last = [self.model.digest, self.seed, *([self.task_code] if self.task_code else [])]
        after = canonical_json(last)[1:]
        own = [
            f",{_quoted(sample.id)},{_quoted(sample.sha256)},{after}".encode() for sample in block
        ]
        for stage in stages:
            shared = [self.task, self.task_version, self.protocol.digests[stage]]
            begun = hashlib.sha256(canonical_json(shared)[:-1].encode())
            keys = []
            for each in own:
                digest = begun.copy()
                digest.update(each)
                keys.append(digest.hexdigest())
            yield keys

    def part_keys(self, block: Sequence[Sample]) -> dict[str, str]:
        """The key of every part of a block, by its stage's folder: outputs, then observations."""
        outputs, seen = map(
            _digest_of_keys, self._sample_keys(block, (Stage.GENERATE, Stage.OBSERVE))
        )
        return {
            "outputs": outputs,
            **{
                f"observations/{name}": digest_of([seen, name, identity])
                for name, identity in self.extractors.items()
            },
        }

    def output_key(self, block: Sequence[Sample]) -> str:
        """Digest of everything a block's outputs depend on."""
        (keys,) = self._sample_keys(block, [Stage.GENERATE])
        return _digest_of_keys(keys)

    def observation_key(self, block: Sequence[Sample], extractor: str) -> str:
        """Digest of everything a block's observations by one extractor depend on."""
        return self.observation_keys(block, [extractor])[extractor]

    def observation_keys(
        self, block: Sequence[Sample], extractors: Iterable[str]
    ) -> dict[str, str]:
        """The same by extractor."""
        (keys,) = self._sample_keys(block, [Stage.OBSERVE])
        seen = _digest_of_keys(keys)
        return {name: digest_of([seen, name, self.extractors[name]]) for name in extractors}

    def seeds(self, block: Sequence[Sample]) -> list[int]:
        """One random stream a sample."""
        return [sample_seed(self.seed, self.task, self.task_version, sample.id) for sample in block]


def _digest_of_keys(keys: Sequence[str]) -> str:
    """What `digest_of` gives for them; nothing in them needs escaping."""
    text = '["' + '","'.join(keys) + '"]' if keys else "[]"
    return hashlib.sha256(text.encode()).hexdigest()


def read_run_file(root: Path) -> RunFile:
    """Read `run.json`; raise `UserError` where the folder is no run or of another version."""
    path = root / "run.json"
    if not path.is_file():
        raise UserError(f"{root} is not a run directory: it has no run.json")
    try:
        with _uncollected():
            return RunFile.model_validate(unsealed(json.loads(path.read_bytes()), path))
    except ValidationError as error:
        raise UserError(
            f"{path} was written by another version of uwt-eval "
            f"({error.error_count()} fields differ): run the task again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise Damaged(path, first_line(error)) from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Make a million samples without the collector's looking through those that are made."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


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
            ready[name] = EXTRACTORS.get(name)(protocol.until(Stage.OBSERVE), device)
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


def run_id(task: str, model: ModelCard, protocol: Protocol, data_digest: str, seed: int) -> str:
    """Name of a run and its directory: the same for the same work."""
    digest = digest_of([model.digest, protocol.digest, data_digest, seed])
    return run_name(task, model.title, protocol.name, digest)


def run_name(task: str, model: str, protocol: str, digest: str) -> str:
    """Name of a run from what people look for, and the digest of what tells it apart."""
    # File systems take 255 bytes; the digest tells apart what the name no longer does.
    name = re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-")[:128]
    return f"{task}-{name}-{protocol}-{digest[:10]}"


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
                f"unknown metric {key!r}: {did_you_mean(key, task.spec.metrics)}; "
                f"`uwt-eval list metrics --task {task.spec.name}` has others"
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


def earlier_run(root: Path) -> RunFile | None:
    """What the run directory holds already, if it is one."""
    if not (root / "run.json").is_file():
        return None
    try:
        return read_run_file(root)
    except UserError as error:
        warn(f"{error}; the metrics that this run had are not known")
        return None


def with_earlier(metrics: Sequence[str], earlier: RunFile | None) -> list[str]:
    """The metrics that are asked for, after those that the run has already."""
    if earlier is None:
        return list(metrics)
    if unknown := [key for key in earlier.metrics if key not in METRICS]:
        warn(f"{earlier.run_id}: {', '.join(unknown)} left out, which no plug-in offers any more")
    return list(dict.fromkeys([*(key for key in earlier.metrics if key in METRICS), *metrics]))


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
    # A machine may have a copy of its own: the first process of each lists what is there.
    own = data.samples(request.limit, on_listing) if world.local_rank == 0 else None
    samples = world.broadcast(own if world.is_main else None)
    data_digest = dataset_digest(samples)
    if not world.is_main and own is not None and dataset_digest(own) != data_digest:
        raise UserError(
            f"the data on the machine of process {world.rank} are not those of process 0's: "
            f"{len(own)} samples there, {len(samples)} here, and not all alike; copy them anew"
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
