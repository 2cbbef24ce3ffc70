"""One pass over the images: what rungs have in common is read, coded, decoded and seen once."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.data.manifest import choose, step_size
from harness.engine.items import Batches, Item, ModelInTurn
from harness.engine.plan import best_batch, make_extractors
from harness.engine.world import model_arithmetic
from harness.interfaces import Code, Columns, Extractor, Model, TaskData
from harness.interfaces.errors import DecodeError, SampleFailure, UserError
from harness.interfaces.observing import Turns, on_device, turn_of
from harness.interfaces.protocols import MODEL_PRECISION, ProtocolSettings, moves_of
from harness.interfaces.registry import EXTRACTORS, FAMILIES
from harness.interfaces.types import (
    Codebook,
    Protocol,
    Sample,
    Stage,
    TaskSpec,
    canonical_json,
)
from harness.metrics.extractors import FeatureExtractor
from harness.metrics.feature_cache import inputs_seen_once
from harness.metrics.feature_scores import reference_column
from harness.sets.observe import in_lanes
from reports.explain.sharing import Known, SeenOnce, digest_of_pixels

if TYPE_CHECKING:
    from harness.interfaces import OnProgress

LEAST = 32
"""Images that all protocols see whatever it costs; they tell how much work is in common."""

Work = tuple[str, bool]
"""A kind of work, and whether it was done for the base protocol."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is explained: images beside what was made of them, under any protocol."""

    label: str
    spec: TaskSpec
    base: Protocol
    find: Callable[[str], Protocol]
    """A protocol that ships, by its name."""
    open: Callable[[Protocol], TaskData]
    samples: Sequence[Sample]
    seeds: Sequence[int]
    device: str
    seed: int = 0
    model: Model | None = None
    codes: Mapping[str, Code] = field(default_factory=dict)
    """What the model made of the samples under the base protocol, by id."""
    codebook: Codebook | None = None
    digest: str = ""
    """Of the pictures, the protocol and the seed, where the label does not tell them apart."""
    as_sets: bool = False
    """Whether features are compared as those of two sets, not of pairs."""


class Unread(DecodeError):
    """Pictures of a pair that cannot be read; to figures of sets the other one still counts.

    Args:
        reasons: Why, by the picture's name.
        pair: The other one in both places; None where neither can be read.
        original: Whether it is the original that cannot be read.
    """

    def __init__(self, reasons: Mapping[str, str], pair: Any = None, *, original: bool) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons
        self.pair = pair
        self.original = original


@dataclass(frozen=True, slots=True)
class Seen:
    """One sample under one rung."""

    code: Code
    values: dict[str, Any]
    """Numbers, and rows of features (d,), by column."""


@dataclass(frozen=True)
class _View:
    """What protocols that differ in scoring alone see."""

    digest: str
    generated: str
    data: TaskData
    extractors: Mapping[str, Known]
    unavailable: Mapping[str, str]
    is_base: bool


class OnePass:
    """Sees samples under protocols, and counts the work.

    Args:
        subject: The images.
        key: The metric's, whose extractors are made.
    """

    def __init__(self, subject: Subject, key: str) -> None:
        self.subject = subject
        self.seen: dict[str, dict[int, Seen]] = defaultdict(dict)
        """By digest of all that decides what is observed, then by place of the sample."""
        self.failures: dict[str, dict[str, str]] = defaultdict(dict)
        """Why samples failed, by the same digest and their ids; of sets, by the pictures' names."""
        self._unread: dict[tuple[int, str], Unread] = {}
        """By place, and digest of what is read."""
        self._lost: set[str] = set()
        """Ids of samples of which nothing is seen under the base."""
        self._counts: Counter[Work] = Counter()
        self._key = key
        self._views: dict[str, _View] = {}
        self._extractors: dict[str, Known] = {}
        self._lock = threading.Lock()
        self._own = subject.base.digests[Stage.OBSERVE]
        device, precision = subject.device, MODEL_PRECISION
        self._turns = Turns(device)
        if subject.model is not None and on_device(subject.model):
            precision = subject.base.settings.get("model_precision", precision)
        stopping = threading.Event()
        arithmetic = partial(model_arithmetic, device, precision)
        self._model = ModelInTurn(subject.model, self._turns, arithmetic, device, stopping)
        size = 1 if subject.model is None else best_batch(subject.model, device, step_size(device))
        base = self._view(subject.base)
        self.of_sets = subject.as_sets and all(known.features for known in base.extractors.values())
        """Whether the metric sees two sets of pictures, of which either may lack some."""
        self._batches = Batches(size, turn_of(base.data), stopping)

    def unavailable(self, protocol: Protocol) -> Mapping[str, str]:
        """Why extractors could not be made for a protocol, by name."""
        return self._view(protocol).unavailable

    def chosen(self, count: int) -> list[int]:
        """Places of a fixed choice of samples without failure, the one that `--limit` takes."""
        ids = [sample.id for sample in self.subject.samples]
        chosen = set(choose([each for each in ids if each not in self._lost], count))
        return [place for place, each in enumerate(ids) if each in chosen]

    def see(
        self, protocols: Sequence[Protocol], budget: float, spare: int, on_progress: OnProgress
    ) -> list[int]:
        """See all samples under the base, and as many as the budget allows under the others.

        Args:
            protocols: The base first.
            budget: How many times the work of one protocol may be done, kind by kind.
            spare: Protocols that the part will be seen under later.
            on_progress: Told how many samples are done.

        Returns:
            the places of the samples that all protocols see, a fixed choice.
        """
        views = list({view.digest: view for view in map(self._view, protocols)}.values())
        n = len(self.subject.samples)
        pilot = self.chosen(min(LEAST, n))
        self._see(pilot, views, lambda done, _: on_progress(done, n))
        part = self.chosen(max(len(pilot), self._affordable(budget, spare, len(pilot))))
        rest = [place for place in range(n) if place not in set(pilot)]
        self._see(rest, views, lambda done, _: on_progress(len(pilot) + done, n), set(part))
        return [place for place in part if place in self.seen[self._own]]

    def see_more(self, protocol: Protocol, places: Sequence[int], on_progress: OnProgress) -> None:
        """See some samples under one more protocol."""
        self._see(places, [self._view(protocol)], on_progress)

    def compared(self) -> dict[str, tuple[float, float]]:
        """By kind of work, how often one protocol does it for all samples, and how often we did."""
        n = len(self.subject.samples)
        return {
            kind: (n * self._one(kind, n), self._counts[kind, True] + self._counts[kind, False])
            for kind in dict.fromkeys(kind for kind, _ in self._counts)
        }

    def _one(self, kind: str, seen: int) -> float:
        """How often one protocol does a kind of work for an image, by those seen so far."""
        stored = kind == "encode" and self.subject.codes
        return 1.0 if stored else self._counts[kind, True] / seen

    def _affordable(self, budget: float, spare: int, pilot: int) -> int:
        """Images that all protocols may see before a kind of work is done too often."""
        n = len(self.subject.samples)
        found = float(n)
        for kind in dict.fromkeys(kind for kind, _ in self._counts):
            one, own = self._one(kind, pilot), self._counts[kind, True] / pilot
            extra = self._counts[kind, False] / pilot + spare * one
            if one and extra:
                found = min(found, n * (budget * one - own) / extra)
        return int(found)

    def _view(self, protocol: Protocol) -> _View:
        digest, subject = protocol.digests[Stage.OBSERVE], self.subject
        if digest not in self._views:
            ready, unavailable = make_extractors([self._key], protocol, subject.device)
            self._views[digest] = _View(
                digest=digest,
                generated=protocol.digests[Stage.GENERATE],
                data=subject.open(protocol),
                extractors={name: self._known(name, ready[name], protocol) for name in ready},
                unavailable=unavailable,
                is_base=digest == self._own,
            )
        return self._views[digest]

    def _known(self, name: str, extractor: Extractor, protocol: Protocol) -> Known:
        settings = protocol.until(Stage.OBSERVE)
        if not EXTRACTORS.code(name):  # What ours read is marked; another's may read anything.
            schema: type[ProtocolSettings] = FAMILIES.get(self.subject.spec.kind)
            fields = schema.model_fields.items()
            settings = {each: settings.get(each) for each, info in fields if moves_of(info)}
        features = isinstance(extractor, FeatureExtractor)
        under = f"{name} {canonical_json(settings)}"
        known = Known(under, self._turns.taking(extractor), features)
        return self._extractors.setdefault(under, known)

    def _see(
        self,
        places: Sequence[int],
        views: Sequence[_View],
        on_progress: OnProgress,
        everywhere: set[int] | None = None,
    ) -> None:
        """See samples at places, under the base alone where they are not of those everywhere."""

        def work(block: range) -> None:
            chosen = [places[at] for at in block]
            whole = [at for at in chosen if everywhere is None or at in everywhere]
            self._block(whole, views)
            self._block([at for at in chosen if at not in whole], [v for v in views if v.is_base])

        device = self.subject.device
        in_lanes(work, len(places), step_size(device), device, on_progress)

    def _block(self, places: Sequence[int], views: Sequence[_View]) -> None:
        counts: Counter[Work] = Counter()
        items = self._made(places, views, counts)
        memo: dict[str, Columns] = {}
        with inputs_seen_once() as networks:
            for view in views:
                groups: dict[Any, list[int]] = defaultdict(list)
                for place in places:
                    item = items[place, view.generated]
                    if item.ok:
                        groups[view.data.batch_key(item.input)].append(place)
                    elif view.is_base:
                        self._lost.add(item.sample.id)
                    self.failures[view.digest] |= self._failures_of(place, view, item)
                for group in groups.values():
                    some = [items[place, view.generated] for place in group]
                    self._observe(view, group, some, memo, counts)
                counts["network", view.is_base] += networks.inputs
                networks.inputs = 0
        with self._lock:
            self._counts += counts

    def _failures_of(self, place: int, view: _View, item: Item) -> Mapping[str, str]:
        unread = self._unread.get((place, view.generated))
        if unread is not None and self.of_sets:
            return unread.reasons
        return {} if item.ok else {item.sample.id: item.error}

    def _observe(
        self,
        view: _View,
        places: Sequence[int],
        items: Sequence[Item],
        memo: dict[str, Columns],
        counts: Counter[Work],
    ) -> None:
        inputs, rendered = [item.input for item in items], [item.rendered for item in items]
        as_sets = self.subject.as_sets
        if as_sets and not self.of_sets:
            _check_sizes(items)
        once = {n: SeenOnce(known, memo, exact=as_sets) for n, known in view.extractors.items()}
        found = view.data.observe(once, inputs, rendered)
        for name, extractor in once.items():
            if not view.extractors[name].features:  # Networks count their inputs themselves.
                counts[name, view.is_base] += extractor.observed
        columns = {name: rows for each in found.values() for name, rows in each.items()}
        for row, (place, item) in enumerate(zip(places, items, strict=True)):
            assert item.code is not None
            # The code of a file is the picture itself, which would fill the memory.
            code = replace(item.code, payload=b"", bits=0.0) if as_sets else item.code
            values = {name: cells[row] for name, cells in columns.items()}
            if (unread := self._unread.get((place, view.generated))) is not None:
                values = {n: v for n, v in values.items() if of_original(n) != unread.original}
            self.seen[view.digest][place] = Seen(code, values)

    def _made(
        self, places: Sequence[int], views: Sequence[_View], counts: Counter[Work]
    ) -> dict[tuple[int, str], Item]:
        """Samples decoded, encoded and rendered; views that read the same pixels share an item."""
        made: dict[tuple[int, str], Item] = {}
        todo: dict[tuple[str, Any], tuple[_View, list[Item]]] = {}
        theirs = self.subject.base.digests[Stage.GENERATE]
        for place in places:
            known: dict[str, Item] = {}
            for view in views:
                if (place, view.generated) in made:
                    continue
                counts["read", view.is_base] += 1
                item = Item(self.subject.samples[place], self.subject.seeds[place])
                self._load(place, view, item)
                if item.ok:
                    new, item = item, known.setdefault(digest_of_pixels(item.input), item)
                    if new is item:
                        if view.generated == theirs:
                            item.code = self.subject.codes.get(item.sample.id)
                        size = view.generated, view.data.batch_key(item.input)
                        todo.setdefault(size, (view, []))[1].append(item)
                made[place, view.generated] = item
        for view, group in todo.values():
            self._batches.run(
                [[item for item in group if item.code is None]],
                partial(self._encode, view, counts),
            )
            self._batches.run(
                [[item for item in group if item.ok]], partial(self._decode, view, counts)
            )
        return made

    def _load(self, place: int, view: _View, item: Item) -> None:
        try:
            item.input = view.data.load(item.sample)
        except Unread as error:
            self._unread[place, view.generated] = error
            item.input = error.pair
            if item.input is None or not self.of_sets:
                item.fail(error)
        except SampleFailure as error:
            item.fail(error)

    def _encode(self, view: _View, counts: Counter[Work], batch: list[Item]) -> None:
        inputs, seeds = [item.input for item in batch], [item.seed for item in batch]
        for item, code in zip(batch, view.data.generate(self._model, inputs, seeds), strict=True):
            item.code = code
        counts["encode", view.is_base] += len(batch)

    def _decode(self, view: _View, counts: Counter[Work], batch: list[Item]) -> None:
        codes = [item.code for item in batch if item.code is not None]
        images = view.data.render(self._model, codes, [item.seed for item in batch])
        for item, image in zip(batch, images, strict=True):
            item.rendered = image
        counts["decode", view.is_base] += len(batch)


def of_original(column: str) -> bool:
    """Whether a column holds what was seen of originals."""
    return column.startswith(reference_column(""))


def _check_sizes(items: Sequence[Item]) -> None:
    for item in items:
        first, second = (pixels.shape[:2] for pixels in item.input)
        if first != second:
            raise UserError(
                f"image {item.sample.id!r} is {first[1]}x{first[0]} and its reconstruction "
                f"{second[1]}x{second[0]}: pairs need one size"
            )
