"""The work on one process's share of blocks: load, generate, render, observe, write."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from harness.data.images import LEAST_VALUES, whole_picture
from harness.data.manifest import blocks, step_size
from harness.data.store import Store, has_images, write_images
from harness.engine.items import (
    Batches,
    Beside,
    Item,
    ModelInTurn,
    Stopped,
    check_rates,
    codes_of,
    observation_rows,
    output_rows,
)
from harness.engine.models import load
from harness.engine.plan import Plan
from harness.engine.world import World, in_order, model_arithmetic
from harness.interfaces import Code, Columns, PictureFiles, Preflighted
from harness.interfaces.errors import SampleFailure, UserError, counted, warn
from harness.interfaces.observing import Turns, turn_of
from harness.interfaces.types import TRIED_AGAIN, Sample, Status

KEPT_PICTURES = 8
"""Outputs kept as pictures, evenly spaced over the samples."""
_LOADERS = 4

Step = tuple[Sequence[Item], list[Future[Any]]]
"""Samples that are in memory together, and what loads their inputs."""


@dataclass
class Timings:
    """Seconds spent in each stage, summed over lanes; what is in no stage is the harness itself."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            with self._lock:
                self.seconds[name] += elapsed


class Worker:
    """Works through this process's blocks, leaving out whatever is already in the store.

    Args:
        plan: What is to be done.
        store: Where finished blocks lie.
        world: The processes that share the blocks.
        lanes: Blocks worked on at the same time, each by a thread of its own.
    """

    def __init__(self, plan: Plan, store: Store, world: World, lanes: int = 1) -> None:
        self.plan = plan
        self.store = store
        self.timings = Timings()
        self.lanes = lanes
        self._least: list[float] = []
        self._stopping = threading.Event()
        self._cause: BaseException | None = None
        self._data_turn = turn_of(plan.data)
        if (plan.device, plan.model_precision) == ("cpu", "fp16"):
            warn("many processors imitate float16, up to a hundred times slower than float32")
        turns = Turns(plan.device)
        arithmetic = partial(model_arithmetic, plan.device, plan.model_precision)
        model = ModelInTurn(plan.model, turns, arithmetic, plan.device, self._stopping)
        self._model: Any = model
        self.batches = Batches(
            plan.batch_size,
            self._data_turn,
            self._stopping,
            lambda: model.seconds,
            plan.most_batch,
        )
        self._beside = Beside(plan.device)
        self._extractors = {
            name: turns.taking(extractor) for name, extractor in plan.extractors.items()
        }
        # A block is worked on by one lane, a step at a time, and written whole: a network sees the
        # same batches, and gives the same bits, however the work is shared out.
        self._step = step_size(plan.device, plan.most_batch or plan.batch_size)
        numbered = list(enumerate(blocks(plan.file.samples, plan.file.block_size)))
        self.share = world.share(numbered)
        n = len(plan.file.samples)
        self._redraws = lacks_grid(store)
        self._kept = {int(i) for i in np.linspace(0, n - 1, min(KEPT_PICTURES, n)).round()}

    def missing(self) -> list[tuple[int, Sequence[Sample]]]:
        """The blocks of this process's share that are not finished."""
        return [(index, block) for index, block in self.share if not self._finished(index, block)]

    def _finished(self, index: int, block: Sequence[Sample]) -> bool:
        keys = self.plan.file.part_keys(block)
        return (
            all(self._settled(stage, index, key, len(block)) for stage, key in keys.items())
            and not self._misses_images(index)
            and not self._misses_pictures(index, block)
        )

    def _misses_images(self, index: int) -> bool:
        return self.plan.keeps_images and not has_images(self.store, index)

    def _misses_pictures(self, index: int, block: Sequence[Sample]) -> bool:
        """Whether a picture of the task's own is lost, or one of a grid that has to be made."""
        data = self.plan.data
        if not (isinstance(data, PictureFiles) or self._redraws):
            return False
        statuses = self._statuses("outputs", index, self.plan.file.output_key(block), len(block))
        return statuses is not None and any(
            status == Status.OK and not whole_picture(self.store.root / name)
            for sample, status in zip(block, statuses, strict=True)
            for name in self._pictures_of(sample, every=self._redraws)
        )

    def _pictures_of(self, sample: Sample, *, every: bool) -> Iterator[str]:
        """The files of a sample's picture: the task's own, and with `every` that of the grid."""
        if isinstance(self.plan.data, PictureFiles):
            yield picture_file(self.plan.data, sample)
        if every and sample.index in self._kept:
            yield f"pictures/{sample.index:06d}.png"

    def _settled(self, stage: str, index: int, key: str, rows: int) -> bool:
        """A part is there, and nothing in it failed in a way that may pass."""
        statuses = self._statuses(stage, index, key, rows)
        return statuses is not None and not any(status in statuses for status in TRIED_AGAIN)

    def _statuses(self, stage: str, index: int, key: str, rows: int) -> list[str] | None:
        table = self.store.read_part(stage, index, key, rows, ["status"])
        return None if table is None else table["status"].to_pylist()

    def _missing_extractors(self, index: int, block: Sequence[Sample]) -> list[str]:
        keys = self.plan.file.observation_keys(block, self.plan.file.extractors)
        return [
            name
            for name, key in keys.items()
            if not self._settled(f"observations/{name}", index, key, len(block))
        ]

    def run(self, on_samples: Callable[[int], None]) -> None:
        """Finish every missing block; `on_samples` is told how many samples each one added."""
        todo = self.missing()
        done = sum(len(block) for _, block in self.share) - sum(len(b) for _, b in todo)
        if not todo:
            on_samples(done)
            return
        for extractor in self.plan.extractors.values():
            if isinstance(extractor, Preflighted):
                extractor.preflight()
        with self.timings.stage("model"):
            load(self.plan.model, self.plan.device)
        on_samples(done)  # Not before: a model that cannot be loaded is one line, its error.
        with ThreadPoolExecutor(_LOADERS) as loaders, ThreadPoolExecutor(self.lanes) as lanes:
            jobs = (
                partial(self._in_lane, index, block, self._steps(block, loaders), on_samples)
                for index, block in todo
            )
            try:
                for _ in in_order(lanes, self.lanes, jobs):
                    pass
            except BaseException as error:
                self._stopping.set()
                loaders.shutdown(wait=False, cancel_futures=True)
                lanes.shutdown(wait=False, cancel_futures=True)
                if isinstance(error, Stopped) and self._cause is not None:
                    raise self._cause from None
                raise

    @property
    def doubtful_range(self) -> str:
        """What a user must know where all that was decoded lies in the upper half of [-1, 1]."""
        if len(self._least) < 2 or min(self._least) < 0:
            return ""
        return (
            f"no value of the {len(self._least):,} images that {self.plan.file.model.title} "
            "decoded is below 0: if it gives [0, 1], decode is to give [-1, 1]"
        )

    def _steps(self, block: Sequence[Sample], loaders: ThreadPoolExecutor) -> Iterator[Step]:
        """A block's samples, so many as are in memory at a time; those of the next are loading."""
        items = [
            Item(sample, seed)
            for sample, seed in zip(block, self.plan.file.seeds(block), strict=True)
        ]

        def begin(some: Sequence[Item]) -> Step:
            return some, [loaders.submit(self._load, item.sample) for item in some]

        cut = blocks(items, self._step)
        ahead = begin(cut[0])
        return _one_ahead(ahead, map(begin, cut[1:]))

    def _in_lane(
        self,
        index: int,
        block: Sequence[Sample],
        steps: Iterator[Step],
        on_samples: Callable[[int], None],
    ) -> None:
        """Work on a block unless something has failed; remember what failed first."""
        if self._stopping.is_set():
            raise Stopped
        LEAST_VALUES.set(self._least)  # The thread is this worker's own.
        try:
            self._work(index, block, steps, on_samples)
        except Stopped:
            raise
        except BaseException as error:
            self._cause = self._cause or error
            self._stopping.set()
            raise

    def _work(
        self,
        index: int,
        block: Sequence[Sample],
        steps: Iterator[Step],
        on_samples: Callable[[int], None],
    ) -> None:
        file = self.plan.file
        stored = self._stored_outputs(index, block)  # Their key knows nothing of later stages.
        names = list(file.extractors) if stored is None else self._missing_extractors(index, block)
        keeps_images = self.plan.keeps_images and (stored is None or self._misses_images(index))
        done: list[Item] = []
        images: list[np.ndarray] = []
        seen: dict[str, list[Columns]] = {name: [] for name in names}
        for items, loading in steps:
            if self._stopping.is_set():
                raise Stopped
            if stored is not None:
                self._restore(stored[len(done) :], items)
            with self.timings.stage("load"):
                self._collect(items, loading)
            if stored is None:
                with self.timings.stage("generate"):
                    self._generate(items)
            with self.timings.stage("render"):
                self._render(items)
            if not done:
                self._stop_if_hopeless(index, items)
            with self.timings.stage("write"):
                self._keep_pictures(items, every=stored is None or self._redraws)
                images += self._pixels(items) if keeps_images else []
            done += items
            # Outputs go before they are observed: what a judge was paid for is about these outputs,
            # and another run of the model may give others.
            if len(done) == len(block):
                with self.timings.stage("write"):
                    if images:
                        write_images(self.store, index, images)
                    if stored is None:
                        self._keep_outputs(index, block, done)
            with self.timings.stage("observe"):
                for name, columns in self._observe(items, names).items():
                    seen[name].append(columns)
            for item in items:
                item.input = item.rendered = None  # A block's images would fill the memory.
            on_samples(len(items))
        with self.timings.stage("write"):
            for name, key in file.observation_keys(block, names).items():
                table = observation_rows(done, _joined(seen[name]))
                self.store.write_part(f"observations/{name}", index, key, table)

    def _keep_outputs(self, index: int, block: Sequence[Sample], items: Sequence[Item]) -> None:
        """Write what came out of the model; what was observed of earlier outputs is forgotten."""
        file = self.plan.file
        for name, key in file.observation_keys(block, file.extractors).items():
            self.store.discard_part(f"observations/{name}", index, key)
        self.store.write_part("outputs", index, file.output_key(block), output_rows(items))

    def _load(self, sample: Sample) -> Any:
        with self._data_turn:
            return self.plan.data.load(sample)

    def _collect(self, items: Sequence[Item], loading: list[Future[Any]]) -> None:
        for item, future in zip(items, loading, strict=True):
            try:
                item.input = future.result()
            except SampleFailure as error:
                item.fail(error)

    def _groups(self, items: Sequence[Item]) -> list[list[Item]]:
        groups: dict[Hashable, list[Item]] = defaultdict(list)
        for item in items:
            if item.ok:
                with self._data_turn:
                    groups[self.plan.data.batch_key(item.input)].append(item)
        return list(groups.values())

    def _generate(self, items: Sequence[Item]) -> None:
        def step(batch: list[Item]) -> None:
            codes = self.plan.data.generate(
                self._model, [i.input for i in batch], [i.seed for i in batch]
            )
            for item, code in zip(batch, codes_of(codes, len(batch)), strict=True):
                item.code = code
            check_rates((i.code for i in batch if i.code is not None), self.plan.file.model)

        self.batches.run(self._groups(items), step)

    def _render(self, items: Sequence[Item]) -> None:
        def step(batch: list[Item]) -> None:
            codes = [item.code for item in batch if item.code is not None]
            rendered = self.plan.data.render(self._model, codes, [i.seed for i in batch])
            for item, image in zip(batch, rendered, strict=True):
                item.rendered = image

        self.batches.run(self._groups(items), step)

    def _observe(self, items: Sequence[Item], names: Sequence[str]) -> dict[str, Columns]:
        extractors = {name: self._extractors[name] for name in names}
        parts: dict[str, list[Columns]] = {name: [] for name in names}
        order: list[Item] = []
        rendered_there = self._beside.mark()
        for group in self._groups(items):
            inputs, rendered = [i.input for i in group], [i.rendered for i in group]
            with self._data_turn, self._beside.after(rendered_there):
                seen = self.plan.data.observe(extractors, inputs, rendered)
            for name in names:
                _check_features(name, seen[name], group)
                parts[name].append(seen[name])
            order += group
        # Groups of one size were observed together; rows are stored in the order of the task.
        ranks = np.argsort([item.sample.index for item in order])
        return {
            name: {key: rows[ranks] for key, rows in _joined(columns).items()}
            for name, columns in parts.items()
        }

    def _stop_if_hopeless(self, index: int, items: Sequence[Item]) -> None:
        broken = [item for item in items if item.status is Status.MODEL_ERROR]
        tried = [item for item in items if item.ok or item in broken]
        if tried and len(broken) == len(tried) and index == self.share[0][0]:
            raise UserError(
                f"model {self.plan.file.model.name!r} failed on each of the first "
                f"{counted(len(tried), 'sample')}: {broken[0].error}"
            )

    def _stored_outputs(self, index: int, block: Sequence[Sample]) -> list[dict[str, Any]] | None:
        """The rows of a block whose outputs are settled."""
        key = self.plan.file.output_key(block)
        table = self.store.read_part("outputs", index, key, len(block))
        rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
        settled = table is not None and not any(row["status"] in TRIED_AGAIN for row in rows)
        return rows if settled else None

    def _restore(self, rows: Sequence[Mapping[str, Any]], items: Sequence[Item]) -> None:
        for item, row in zip(items, rows, strict=False):
            item.status, item.error = Status(row["status"]), row["error"]
            item.seconds = row["seconds"]
            if item.ok:  # Its rate is stored, and looked at there.
                item.code = Code(row["payload"], row["height"], row["width"])

    def _pixels(self, items: Sequence[Item]) -> list[np.ndarray]:
        found = [self._picture(item) for item in items if item.ok]
        return [image for image in found if image is not None]

    def _picture(self, item: Item) -> np.ndarray | None:
        with self._data_turn:
            return self.plan.data.picture(item.rendered)

    def _keep_pictures(self, items: Sequence[Item], *, every: bool) -> None:
        """Write the task's own pictures, and with `every` the few that all runs keep."""
        for item in items:
            for name in self._pictures_of(item.sample, every=every) if item.ok else ():
                self._write_picture(item, name)

    def _write_picture(self, item: Item, name: str) -> None:
        from PIL import Image

        pixels = self._picture(item)
        if pixels is not None:
            self.store.write(name, Image.fromarray(pixels).save)


def lacks_grid(store: Store) -> bool:
    """Whether a run has, or had when it ended, pictures for its grid and not the grid itself."""
    if whole_picture(store.root / "grid.png"):
        return False
    if any((store.root / "pictures").glob("*.png")):
        return True
    try:
        record = json.loads((store.root / "record.json").read_bytes())
        return bool(record["provenance"].get("grid"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def picture_file(data: PictureFiles, sample: Sample) -> str:
    """Where a sample's picture lies in the run directory."""
    return f"images/{data.picture_path(sample)}"


def _check_features(extractor: str, columns: Columns, items: Sequence[Item]) -> None:
    """Refuse features that no distance can be taken of; they would spoil those of all images."""
    if "status" in columns:
        return  # It says itself which samples failed: a judging without scores is NaN.
    for name, rows in columns.items():
        if rows.ndim == 2 and not np.isfinite(rows).all():
            row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise UserError(
                f"extractor {extractor!r} gave {name} that are not finite for sample "
                f"{items[row].sample.id!r}: its network's weights or precision are broken"
            )


def _joined(parts: Sequence[Columns]) -> Columns:
    """Columns of several groups, or steps, as one; those without a sample have none."""
    parts = [part for part in parts if part]
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _one_ahead(first: Step, rest: Iterator[Step]) -> Iterator[Step]:
    """Every step, the next of which has begun before one is taken."""
    for following in rest:
        yield first
        first = following
    yield first
