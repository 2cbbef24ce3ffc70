"""The ladder: what each choice moves a figure by, and which come nearest to a published one."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from harness.engine.plan import metric
from harness.engine.score import cell_of
from harness.interfaces import Observations, Progress
from harness.interfaces.errors import Unavailable, UserError, counted
from harness.interfaces.registry import FAMILIES
from harness.interfaces.types import MetricValue, Protocol, Record, Stage
from harness.metrics.feature_scores import reference_column
from harness.metrics.features import ReferenceFeatures
from reports.explain.measure import OnePass, Seen, Subject, of_original
from reports.explain.rungs import Rung, apart, combined, differences, ladder
from reports.paired import paired_differences
from reports.samples import is_pooled, values_of

_SIZES = (2, 4)
"""Into how many parts the images are cut, of one of which the base is shown too."""
_NEAREST = 3
"""Combinations that are told, and pairs that are measured at most to find the first of them."""


class Step(Record):
    """The figure under one rung."""

    name: str
    kind: Literal["protocol", "choice", "images"]
    changes: dict[str, Any] = Field(description="Settings that are not the base's, by name.")
    cell: MetricValue
    moves: float | None = Field(description="From the base's figure of the same images.")
    moves_low: float | None = Field(
        default=None, description="95% interval, paired by image; of means alone."
    )
    moves_high: float | None = None
    identical: bool = Field(
        default=False,
        description="Every image is its original to the last bit: the figure has no finite value.",
    )


class Near(Record):
    """Some changes at once, and the figure of all images that they give."""

    name: str
    value: float
    kind: Literal["base", "choice", "protocol", "pair"]
    measured: bool = Field(description="Together; else their moves are added up.")


class Explanation(Record):
    """All that was found: `explain.json`."""

    of: str
    digest: str = Field(
        description="Of both sets of pictures, protocol and seed; empty of a run, named by its own."
    )
    task: str
    metric: str
    protocol: str
    protocol_digest: str
    published: float | None
    base: MetricValue
    steps: tuple[Step, ...]
    moves_most: str | None = Field(
        description="Of the choices; one that leaves no difference before all others."
    )
    nearest: tuple[Near, ...]
    images: int
    images_of_every_choice: int
    work: dict[str, tuple[float, float]] = Field(
        description="By kind, how often one protocol does it, and how often the ladder did."
    )
    times_one_protocol: float = Field(description="Of the kind of work that grew most.")
    failed: dict[str, str] = Field(description="Why samples could not be measured, by id.")
    notes: tuple[str, ...]

    @property
    def ranked(self) -> list[Step]:
        """Protocols, then choices by how much they move, then numbers of images."""
        return sorted(self.steps, key=_rank)


def _rank(step: Step) -> tuple[int, float]:
    moves = math.inf if step.identical else abs(step.moves or 0.0)
    return ("protocol", "choice", "images").index(step.kind), -moves


def explain(
    subject: Subject, key: str, *, published: str | None, budget: float, progress: Progress
) -> Explanation:
    """Measure every rung.

    Args:
        subject: What is explained.
        key: The metric.
        published: The figure to come near to, as it is printed: its digits say how near is near.
        budget: How many times the work of one protocol may be done; what needs more is measured on
            a part of the images.
        progress: Draws progress bars.

    Raises:
        UserError: The metric has no value under the base protocol.
    """
    base = subject.base
    rungs = ladder(base, subject.spec, key, metric(key), subject.find)
    work = OnePass(subject, key)
    for reason in work.unavailable(base).values():
        raise UserError(f"{key} cannot be explained: {reason}") from Unavailable(reason)
    with progress.bar(subject.label) as on_progress:
        spare = 0 if published is None else _NEAREST
        part = work.see([rung.protocol for rung in rungs], budget, spare, on_progress)
    scores = _Scores(work, key)
    everything = scores.places(base)
    failed = work.failures[base.digests[Stage.OBSERVE]]
    if not everything:
        raise UserError(f"{key} cannot be explained: no image could be measured, {_first(failed)}")
    own = scores.cell(base, everything).model_copy(update={"n_failed": len(failed)})
    if own.value is None:
        lost = f"; {len(failed)} could not be measured, {_first(failed)}" if failed else ""
        raise UserError(f"{key} cannot be explained: {own.status}{lost}")
    steps = []
    with progress.bar("scoring") as on_progress:
        for done, rung in enumerate(rungs[1:]):
            on_progress(done, len(rungs) - 1)
            same = rung.protocol.digests[Stage.OBSERVE] == base.digests[Stage.OBSERVE]
            steps.append(scores.step(rung, everything if same else part))
        on_progress(len(rungs) - 1, len(rungs) - 1)
    for size in sorted({len(everything) // by for by in _SIZES} | {len(part)}, reverse=True):
        if 2 <= size < len(everything):
            cell = scores.cell(base, work.chosen(size))
            moves = None if cell.value is None else cell.value - own.value
            steps.append(
                Step(name=f"images = {size}", kind="images", changes={}, cell=cell, moves=moves)
            )
    near: list[Near] = []
    if published is not None:
        near = _nearest(base.name, own.value, steps, rungs, published)
        for _ in range(_NEAREST):
            if _distance(published, near[0])[0] or not near[0].measured:
                near = _verified(scores, part, near, rungs, own.value, published, progress)
    moved = [step for step in steps if step.kind == "choice" and (step.moves or step.identical)]
    most = max(moved, key=lambda step: (step.identical, abs(step.moves or 0.0)), default=None)
    counted = work.compared()
    return Explanation(
        of=subject.label,
        digest=subject.digest,
        task=subject.spec.name,
        metric=key,
        protocol=base.name,
        protocol_digest=base.digest,
        published=None if published is None else float(published),
        base=own,
        steps=tuple(steps),
        moves_most=most and most.name,
        nearest=tuple(near[:_NEAREST]),
        images=len(everything),
        images_of_every_choice=len(part),
        work=counted,
        times_one_protocol=max(done / one for one, done in counted.values() if one),
        failed=dict(sorted(failed.items())),
        notes=(*_left_out(work, failed), *_failing(work, rungs, failed)),
    )


def _first(failed: Mapping[str, str]) -> str:
    name, why = min(failed.items())
    return f"first {name}: {why}"


def _left_out(work: OnePass, failed: Mapping[str, str]) -> Iterator[str]:
    """How much the base protocol is without; nothing where it is without nothing."""
    if failed and work.of_sets:
        some = counted(len(failed), "picture")
        yield f"{some} that cannot be read left out; the other of each pair counts"
    elif failed:
        yield f"{len(failed)} of {len(work.subject.samples)} images are left out: they failed"


def _failing(work: OnePass, rungs: Sequence[Rung], failed: Mapping[str, str]) -> Iterator[str]:
    """A line for the rungs under which the same samples fail that the base protocol can read."""
    found: dict[str, list[str]] = defaultdict(list)
    for rung in rungs:
        theirs = work.failures[rung.protocol.digests[Stage.OBSERVE]]
        if more := {name: why for name, why in theirs.items() if name not in failed}:
            what = f"{counted(len(more), 'more image')} could not be measured, {_first(more)}"
            found[what].append(rung.name)
    for what, names in found.items():
        yield f"{', '.join(names)}: {what}"


class _Scores:
    """Figures of what was seen."""

    def __init__(self, work: OnePass, key: str) -> None:
        self.work = work
        self._key = key
        self._known: dict[tuple[Any, ...], MetricValue] = {}

    def _rows(self, protocol: Protocol) -> dict[int, Seen]:
        return self.work.seen[protocol.digests[Stage.OBSERVE]]

    def places(self, protocol: Protocol) -> list[int]:
        """Where the samples stand that were seen under a protocol."""
        return sorted(self._rows(protocol))

    def cell(self, protocol: Protocol, places: Sequence[int]) -> MetricValue:
        """The metric of those of the samples that were seen."""
        asked = protocol.digest, tuple(places)
        if asked not in self._known:
            rows = self._rows(protocol)
            seen = {place: rows[place] for place in places if place in rows}
            self._known[asked] = self._cell(protocol, seen)
        return self._known[asked]

    def step(self, rung: Rung, places: Sequence[int]) -> Step:
        """A rung beside the base on the very same samples."""
        base, ours = self.work.subject.base, self._rows(rung.protocol)
        common = [place for place in places if place in ours and place in self._rows(base)]
        cell, before = self.cell(rung.protocol, common), self.cell(base, common)
        known = cell.value is not None and before.value is not None
        low, high = self._paired(rung.protocol, common) if known else (None, None)
        return Step(
            name=rung.name,
            kind="choice" if rung.changes else "protocol",
            changes=differences(base, rung),
            cell=cell,
            moves=(cell.value or 0.0) - (before.value or 0.0) if known else None,
            moves_low=low,
            moves_high=high,
            identical=cell.value is None and self._identical(rung.protocol, common),
        )

    def _identical(self, protocol: Protocol, places: Sequence[int]) -> bool:
        """Whether each sample's own value is infinite, as the PSNR of identical images is."""
        found = self._values(protocol, places)
        return found is not None and len(found[0]) > 0 and bool(np.isinf(found[0]).all())

    def _values(
        self, protocol: Protocol, places: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """What each sample contributes, with its weight; None where the metric is no mean."""
        rows = self._rows(protocol)
        frame = _frame(self.work.subject, {place: rows[place] for place in places})
        columns = {str(name): column.to_numpy() for name, column in frame.items()}
        return values_of(self._key, columns, protocol.settings)

    def _paired(
        self, protocol: Protocol, places: Sequence[int]
    ) -> tuple[float | None, float | None]:
        """The move's interval where both figures are means with the same weights."""
        subject, key, sides, pooled = self.work.subject, self._key, [], set()
        for each in (subject.base, protocol):
            sides.append(self._values(each, places))
            pooled.add(is_pooled(key, each.settings))
        a, b = sides
        if a is None or b is None or len(pooled) > 1 or not np.array_equal(a[1], b[1]):
            return None, None
        found = paired_differences(
            {key: a[0]}, {key: b[0]}, {key: a[1]}, subject.seed, pooled=[key] * pooled.pop()
        )[key]
        return found.ci_low, found.ci_high

    def _cell(self, protocol: Protocol, seen: dict[int, Seen]) -> MetricValue:
        subject = self.work.subject
        rows = [each.values for each in seen.values()]
        names = dict.fromkeys(n for row in rows for n, value in row.items() if np.ndim(value) == 1)
        features = {name: np.stack([row[name] for row in rows if name in row]) for name in names}
        known, mark = None, reference_column("")
        if subject.as_sets and features:
            theirs = {n.removeprefix(mark): f for n, f in features.items() if of_original(n)}
            known = ReferenceFeatures(theirs)
            features = {n: f for n, f in features.items() if not of_original(n)}
            seen = {at: each for at, each in seen.items() if not all(map(of_original, each.values))}
        observations = Observations(
            samples=_frame(subject, seen),
            features=features,
            payloads=[each.code.payload for each in seen.values()],
            codebook=subject.codebook,
            seed=subject.seed,
            small_sets=True,
            reference=known,
        )
        unavailable = self.work.unavailable(protocol)
        return cell_of(self._key, observations, protocol.settings, unavailable)


def _frame(subject: Subject, seen: dict[int, Seen]) -> pd.DataFrame:
    """A row a sample, as metrics read them."""
    return pd.DataFrame(
        [
            {
                "id": subject.samples[place].id,
                "height": each.code.height,
                "width": each.code.width,
                "bits": each.code.bits,
                **{name: value for name, value in each.values.items() if np.ndim(value) == 0},
            }
            for place, each in seen.items()
        ]
    )


def _distance(published: str, near: Near) -> tuple[float, int, float]:
    """Order of nearness: beyond the printed digits, then the simplest, then the rest."""
    digits = len(published.lower().partition("e")[0].partition(".")[2])
    away = abs(near.value - float(published))
    simple = ("base", "choice", "protocol", "pair").index(near.kind)
    return max(0.0, away - 0.5 * 10.0**-digits), simple, away


def _nearest(
    name: str, base: float, steps: Sequence[Step], rungs: Sequence[Rung], published: str
) -> list[Near]:
    """The base, every rung and every pair of choices, the nearest to a figure first."""
    found = [Near(name=name, value=base, kind="base", measured=True)]
    moves: dict[str, float] = {}
    for step in steps:
        if step.moves and step.kind != "images":
            moves[step.name] = step.moves
            value = base + step.moves
            found.append(Near(name=step.name, value=value, kind=step.kind, measured=True))
    choices = [rung for rung in rungs if rung.changes and rung.name in moves]
    for one, other in itertools.combinations(choices, 2):
        if apart(one.changes[0], other.changes[0]):
            value = base + moves[one.name] + moves[other.name]
            both = f"{one.name} + {other.name}"
            found.append(Near(name=both, value=value, kind="pair", measured=False))
    return sorted(found, key=lambda near: _distance(published, near))


def _verified(
    scores: _Scores,
    part: Sequence[int],
    near: Sequence[Near],
    rungs: Sequence[Rung],
    base: float,
    published: str,
    progress: Progress,
) -> list[Near]:
    """The same with the nearest pair measured that is not yet: moves need not add up."""
    subject = scores.work.subject
    first = next((each for each in near if not each.measured), None)
    if first is None:
        return [*near]
    rest = [each for each in near if each is not first]
    changes = [rung.changes[0] for rung in rungs if rung.name in first.name.split(" + ")]
    both = combined(subject.base, FAMILIES.get(subject.spec.kind), changes)
    if both is None:  # They mean nothing together.
        return rest
    with progress.bar(both.name) as on_progress:
        scores.work.see_more(both.protocol, part, on_progress)
    moves = scores.step(both, part).moves
    if moves is None:
        return rest
    measured = first.model_copy(update={"value": base + moves, "measured": True})
    return sorted([measured, *rest], key=lambda each: _distance(published, each))
