"""What can be explained: a finished run of reconstructions, or two folders of pictures."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from harness.data.digests import Damaged, read_table
from harness.data.images import DecodeRule, to_float
from harness.data.manifest import blocks
from harness.data.store import Store
from harness.engine import protocols
from harness.engine.models import ModelChoice, load
from harness.engine.run_file import RunFile, read_run_file
from harness.engine.score import Merged
from harness.engine.world import World, resolve_device
from harness.interfaces import (
    Code,
    Columns,
    ComparesFiles,
    Extractor,
    ImageFiles,
    ImagePairs,
    Model,
    Task,
    TaskData,
    offers,
)
from harness.interfaces.errors import DecodeError, UserError
from harness.interfaces.registry import MODELS, TASKS
from harness.interfaces.types import Protocol, ResultRecord, Sample, Status, digest_of
from harness.sets import FILES
from harness.sets.images import ImageSet, open_images, open_originals
from harness.sets.observe import why_not_paired
from reports.explain.measure import Subject, Unread
from reports.originals import given_to
from reports.records import RECORD, load_records

if TYPE_CHECKING:
    from harness.interfaces import OnProgress


def read_finished(root: Path) -> tuple[RunFile, ResultRecord]:
    """The run in a directory, and its result.

    Raises:
        UserError: It is unfinished, damaged or no reconstruction.
    """
    file = read_run_file(root)
    _check_plugins(root, file)
    if not (root / RECORD).is_file():
        raise UserError(f"{root} is not finished: give its `uwt-eval run` again, which goes on")
    task: Task = TASKS.get(file.task)
    if not isinstance(task, ComparesFiles) or "VisualTokenizer" not in task.spec.interfaces:
        raise UserError(f"{root} is a run of {file.task!r}: only reconstructions are explained")
    (loaded,) = load_records([root / RECORD])
    return file, loaded.record


def _check_plugins(root: Path, file: RunFile) -> None:
    """Refuse a run whose task or model came by a file that is not given now: none runs unasked."""
    files = " ".join(f"--plugin {each}" for each in given_to(file, "--plugin"))
    names = [ModelChoice.parse(text).name for text in given_to(file, "--model", "-m")]
    lacks = file.model.code_sha256 and any(name not in MODELS for name in names)
    if files and (lacks or file.task not in TASKS):
        raise UserError(f"{root}: that run had {files}: give it again")


def _check_outputs(root: Path, file: RunFile, record: ResultRecord) -> None:
    """Refuse a run that has lost outputs since its result was written."""
    lost: dict[str, int] = {}
    for index, block in enumerate(blocks(file.samples, file.block_size)):
        name = Store.part_name("outputs", index, file.output_key(block))
        try:
            whole = read_table(root / name, ["id"]).num_rows == len(block)
        except (Damaged, OSError):
            whole = False
        if not whole:
            lost[name] = len(block)
    count = sum(lost.values())
    if count > record.failures.get(Status.MISSING, 0):
        raise UserError(
            f"{root}: the outputs of {count} samples are missing or damaged (first "
            f"{next(iter(lost))}), while {RECORD} says n={record.n}: run the same command again, "
            "which makes them anew"
        )


def of_run(
    root: Path,
    *,
    model: str | None,
    data: str | None,
    device: str,
    on_listing: OnProgress | None = None,
) -> Subject:
    """A finished run, with the model that made it and the images that it was made of.

    Args:
        root: The run directory.
        model: As `run --model` takes it; found by the run's own card and command if None.
        data: As `run --data` takes it; where the run's command had it if None.
        device: auto, cpu, cuda, cuda:N or mps.
        on_listing: Progress of reading the data for its digests.

    Raises:
        UserError: The run is not finished or has lost outputs, or its model or images are not
            those at hand.
    """
    file, record = read_finished(root)
    _check_outputs(root, file, record)
    task: Task = TASKS.get(file.task)
    made_by = _model_of(file, root, [model] if model else _named(file))
    place = data or next(given_to(file, "--data"), None)
    open_data: Callable[[Protocol], TaskData] = partial(task.open, place)
    if offers(made_by, "ImageFiles"):
        files = cast("ComparesFiles", task)
        open_data = partial(files.open_files, place, images=cast("ImageFiles", made_by))
    merged = Merged(file.model_copy(update={"extractors": {}}), Store(root))
    _check_data(root, file, open_data(file.protocol), place, on_listing)
    seen = merged.observations()
    columns = (seen.samples[name].tolist() for name in ("id", "height", "width", "bits"))
    codes = {
        name: Code.of_file(payload, int(height), int(width), bits)
        for payload, name, height, width, bits in zip(seen.payloads, *columns, strict=True)
    }
    kept = [sample for sample in file.samples if sample.id in codes]
    if not kept:
        raise UserError(f"{root}: every sample of the run failed, there is nothing to explain")
    where = resolve_device(device, World())
    load(made_by, where)
    return Subject(
        label=file.run_id,
        spec=task.spec,
        base=file.protocol,
        find=task.protocol,
        open=open_data,
        samples=kept,
        seeds=file.seeds(kept),
        device=where,
        seed=file.seed,
        model=made_by,
        codes=codes,
        codebook=file.model.codebook,
    )


def _named(file: RunFile) -> list[str]:
    """What the run's model may have been called on the command line."""
    elsewhere = (f"images:{place}" for place in given_to(file, "--images"))
    given = given_to(file, "--model", "-m")
    return list(dict.fromkeys([*given, *elsewhere, file.model.title, file.model.name]))


def _model_of(file: RunFile, root: Path, choices: Sequence[str]) -> Model:
    """The first choice that is the run's model, by its digest."""
    reason = "it is another"
    for text in choices:
        try:
            choice = ModelChoice.parse(text)
            model = choice.build()
            if choice.card(model).digest == file.model.digest:
                return model
        except UserError as error:
            reason = str(error)
    raise UserError(
        f"{root}: model {file.model.title!r} is needed, give --model as the run had it ({reason})"
    )


def _check_data(
    root: Path, file: RunFile, data: TaskData, place: str | None, on_listing: OnProgress | None
) -> None:
    """Refuse images that are not those of the run."""
    found = data.samples(len(file.samples), on_listing)
    if {s.id for s in found} != {s.id for s in file.samples}:
        found = data.samples(None, on_listing)
    known = {sample.id: sample.sha256 for sample in found}
    if other := [each.id for each in file.samples if known.get(each.id) != each.sha256]:
        where = place or "the usual place"
        raise UserError(
            f"{root}: {other[0]} at {where} is not the image of the run ({len(other)} of "
            f"{len(file.samples)} differ): give --data as the run had it"
        )


def of_files(
    originals: str,
    others: str,
    *,
    protocol: str,
    device: str,
    seed: int,
    on_listing: OnProgress | None = None,
) -> Subject:
    """Originals and reconstructions in two folders, archives or `.npz` files, paired by name.

    Raises:
        UserError: A place cannot be read, or the images do not pair.
    """

    def find(name: str) -> Protocol:
        return protocols.find(name, FILES)

    def open_pairs(chosen: Protocol) -> FilePairs:
        rule = DecodeRule(**chosen.settings["decode"])
        known = open_originals(originals, chosen.settings, on_listing)
        if known.images is None:
            raise UserError(f"{originals} holds statistics and no images: there is nothing to pair")
        return FilePairs(known.label, known.images, open_images(others, rule, on_listing))

    base = find(protocol)
    pairs = open_pairs(base)
    samples = pairs.samples(None)
    return Subject(
        label=pairs.label,
        spec=FILES,
        base=base,
        find=find,
        open=open_pairs,
        samples=samples,
        seeds=[0] * len(samples),
        device=resolve_device(device, World()),
        seed=seed,
        digest=digest_of([*pairs.digests, base.digest, seed]),
        as_sets=True,
    )


class FilePairs:
    """Pictures of two sets by name, as a task's data whose codes are the pictures themselves.

    Args:
        label: Of the originals, for people.
        originals: What the others were made of.
        others: The reconstructions.
    """

    concurrent = True
    notice = ""

    def __init__(self, label: str, originals: ImageSet, others: ImageSet) -> None:
        if (reason := why_not_paired(originals, others)) is not None:
            raise UserError(f"originals and reconstructions pair by name: {reason}")
        self.label = f"{others.label} against {label}"
        self.digests = (originals.digest, others.digest)
        self._originals = originals
        self._others = others
        self._at = {name: place for place, name in enumerate(others.ids)}

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """The originals, in the order of the set."""
        del limit, on_progress
        ids = enumerate(self._originals.ids)
        return [Sample(id=name, index=place, sha256="") for place, name in ids]

    def load(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Both pictures of a pair, uint8 (H, W, 3) each; raise `Unread` where one cannot be."""
        read, reasons = [], {}
        for images, place in ((self._originals, sample.index), (self._others, self._at[sample.id])):
            try:
                read.append(np.array(images.load(place)))
            except DecodeError as error:
                reasons[f"{images.label}/{sample.id}"] = str(error)
                unread = images
        if reasons:
            pair = (read[0], read[0]) if read else None
            raise Unread(reasons, pair, original=unread is self._originals)
        return read[0], read[1]

    def batch_key(self, item: tuple[np.ndarray, np.ndarray]) -> Hashable:
        """Pairs of the same two sizes share a batch."""
        return item[0].shape, item[1].shape

    def generate(
        self, model: object, inputs: Sequence[tuple[np.ndarray, np.ndarray]], seeds: Sequence[int]
    ) -> list[Code]:
        """The reconstructions' own bytes."""
        del model, seeds
        return [Code(other.tobytes(), *other.shape[:2]) for _, other in inputs]

    def render(
        self, model: object, codes: Sequence[Code], seeds: Sequence[int]
    ) -> list[np.ndarray]:
        """The reconstructions, uint8 (H, W, 3)."""
        del model, seeds
        return [np.frombuffer(c.payload, np.uint8).reshape(c.height, c.width, 3) for c in codes]

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[tuple[np.ndarray, np.ndarray]],
        rendered: Sequence[np.ndarray],
    ) -> dict[str, Columns]:
        """Observe pairs, of one size among originals and one among the others."""
        originals, others = np.stack([first for first, _ in inputs]), np.stack(rendered)
        pairs = ImagePairs(to_float(originals), to_float(others), originals, others)
        return {name: extractor.observe(pairs) for name, extractor in extractors.items()}

    def picture(self, rendered: Any) -> np.ndarray | None:
        """None is kept."""
        del rendered
        return None

    def illustrate(self, pictures: Sequence[Any], target: Path) -> None:
        """Nothing is drawn."""
