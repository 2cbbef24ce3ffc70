"""All metrics between a reference and samples under one protocol, as one result record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from harness.engine import provenance
from harness.engine.progress import Progress
from harness.interfaces import Extractor, Metric, Observations
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.registry import EXTRACTORS, METRICS, did_you_mean
from harness.interfaces.types import MetricValue, Protocol, ResultRecord, RunStatus, digest_of
from harness.metrics.extractors import FeatureExtractor
from harness.metrics.feature_scores import (
    FrechetDistance,
    InceptionScoreOfImages,
    output_column,
)
from harness.sets import ALIASES, FILES
from harness.sets.images import ImageSet, Reference
from harness.sets.observe import observe_pairs, observe_set, reference_features, why_not_paired


def expand_metrics(names: Sequence[str] | None) -> tuple[str, ...]:
    """Metric keys for the names a user gave ('prc', 'lpips' …); all that ship where None.

    Raises:
        UserError: A name of no metric, or of one that observes nothing of images.
    """
    if names is None:
        return FILES.metrics
    keys: list[str] = []
    for name in names:
        if name not in ALIASES and not (name in METRICS and METRICS.get(name).needs):
            hint = did_you_mean(name, [*FILES.metrics, *ALIASES])
            raise UserError(f"unknown metric {name!r}: {hint}")
        keys += ALIASES.get(name, (name,))
    return tuple(dict.fromkeys(keys))


class Comparison:
    """One reference, one set of samples, one protocol.

    Args:
        reference: What is compared with.
        samples: What is judged.
        protocol: Settings for `sets`.
        device: 'cpu' or 'cuda'.
        seed: Seeds the intervals.
        small_sets: Whether to give FID-like metrics of too few images.
        extrapolate: Whether to note FID∞, the distance at infinitely many images.
        progress: Draws progress bars.
    """

    def __init__(
        self,
        reference: Reference,
        samples: ImageSet,
        protocol: Protocol,
        *,
        device: str,
        seed: int,
        small_sets: bool,
        progress: Progress,
        extrapolate: bool = False,
    ) -> None:
        self._settings = protocol.settings
        self._protocol = protocol
        self._device = device
        self._seed = seed
        self._small_sets = small_sets
        self._extrapolate = extrapolate
        self._progress = progress
        self.reference = reference
        self.samples = samples
        self._failures: dict[str, str] = {}
        self._extractors: dict[str, Extractor | Unavailable] = {}

    def record(self, keys: Sequence[str], *, explicit: bool) -> ResultRecord:
        """Compute the metrics.

        Args:
            keys: Metric keys.
            explicit: Whether the user named them; a pair metric that cannot be is then an error.
        """
        of_sets = [key for key in keys if all(map(_sees_sets, _metric(key).needs))]
        cells = self._set_cells(of_sets)
        cells |= self._pair_cells([key for key in keys if key not in of_sets], explicit=explicit)
        n_failed = len(self._failures)
        return ResultRecord(
            run_id=f"files-{self._digest()[:10]}",
            task=FILES.name,
            task_version=FILES.version,
            model=self.samples.label,
            model_digest=self.samples.digest,
            protocol=self._protocol.name,
            protocol_digest=self._protocol.digest,
            dataset=self.reference.label,
            dataset_digest=self.reference.digest,
            seed=self._seed,
            n=len(self.samples.ids),
            n_failed=n_failed,
            failures={"decode_error": n_failed} if n_failed else {},
            status=RunStatus.INCOMPLETE if n_failed else RunStatus.COMPLETE,
            metrics={key: cells[key].model_copy(update={"n_failed": n_failed}) for key in keys},
            provenance=provenance.collect(self._device),
        )

    @property
    def failures(self) -> Mapping[str, str]:
        """Images that could not be read, and why."""
        return self._failures

    def _digest(self) -> str:
        return digest_of([self.reference.digest, self.samples.digest, self._protocol.digest])

    def _set_cells(self, keys: Sequence[str]) -> dict[str, MetricValue]:
        """Cells of metrics that compare features of the two sets."""
        cells, ready = self._split(keys)
        if not ready:
            return cells
        extractors = list(self._of(ready).values())
        samples = self.samples
        with self._progress.bar(samples.label) as on_progress:
            seen = observe_set(samples, extractors, self._device, on_progress)
        self._note(samples, seen.failures)
        # What a metric reads of stored statistics need not be computed from images.
        wanted = [key for key in ready if not self._knows(key)]
        originals = [each for each in self._of(wanted).values() if each.originals]
        with self._progress.bar(self.reference.label) as on_progress:
            known, failures = reference_features(
                self.reference, originals, self._device, on_progress
            )
        if self.reference.images is not None:
            self._note(self.reference.images, failures)
        observed = Observations(
            samples=pd.DataFrame({"id": seen.ids}),
            features={output_column(output): rows for output, rows in seen.outputs.items()},
            seed=self._seed,
            small_sets=self._small_sets,
            extrapolate=self._extrapolate,
            reference=known,
        )
        return cells | {key: self._cell(key, observed) for key in ready}

    def _pair_cells(self, keys: Sequence[str], *, explicit: bool) -> dict[str, MetricValue]:
        """Cells of metrics that compare images one by one with those of the same name."""
        if not keys:
            return {}
        images = self.reference.images
        reason = (
            "the reference holds no images"
            if images is None
            else why_not_paired(images, self.samples)
        )
        if images is None or reason is not None:
            if explicit:
                raise UserError(f"{', '.join(keys)} need pairs of images: {reason}")
            absent = Unavailable(f"no pairs: {reason}", kind="not applicable")
            return {key: _absent(key, absent) for key in keys}
        cells, ready = self._split(keys)
        if not ready:
            return cells
        needs = {need: self._extractor(need) for key in ready for need in _metric(key).needs}
        extractors = {n: e for n, e in needs.items() if not isinstance(e, Unavailable)}
        with self._progress.bar("pairs") as on_progress:
            rows, failures = observe_pairs(
                images, self.samples, extractors, self._device, on_progress
            )
        self._failures.update(failures)
        observed = Observations(samples=rows, seed=self._seed)
        return cells | {key: self._cell(key, observed) for key in ready}

    def _cell(self, key: str, observed: Observations) -> MetricValue:
        metric = _metric(key)
        try:
            cell = metric.score(observed, self._settings)
        except Unavailable as reason:
            return _absent(key, reason)
        if isinstance(metric, InceptionScoreOfImages):
            cell = self._with_order_note(cell)
        return cell.model_copy(update={"higher_is_better": metric.higher_is_better})

    def _with_order_note(self, cell: MetricValue) -> MetricValue:
        if self._settings["inception_score"]["rule"] != "adm" or not self.samples.class_sorted:
            return cell
        note = "samples lie class by class, so sequential splits see few classes each: shuffle them"
        return cell.model_copy(update={"note": f"{cell.note}; {note}" if cell.note else note})

    def _split(self, keys: Sequence[str]) -> tuple[dict[str, MetricValue], list[str]]:
        """Cells of the metrics whose extractors cannot be made, and the other metrics."""
        cells: dict[str, MetricValue] = {}
        for key in keys:
            for need in _metric(key).needs:
                extractor = self._extractor(need)
                if isinstance(extractor, Unavailable):
                    cells[key] = _absent(key, extractor)
        return cells, [key for key in keys if key not in cells]

    def _extractor(self, name: str) -> Extractor | Unavailable:
        if name not in self._extractors:
            try:
                self._extractors[name] = EXTRACTORS.get(name)(self._settings, self._device)
            except Unavailable as reason:
                self._extractors[name] = reason
        return self._extractors[name]

    def _of(self, keys: Iterable[str]) -> dict[str, FeatureExtractor]:
        """The networks' extractors that metrics need."""
        needs = {need: self._extractor(need) for key in keys for need in _metric(key).needs}
        return {name: each for name, each in needs.items() if isinstance(each, FeatureExtractor)}

    def _knows(self, key: str) -> bool:
        """Whether the reference stores all that a metric reads of it."""
        metric = METRICS.get(key)
        return (
            isinstance(metric, FrechetDistance)
            and metric.output(self._settings) in self.reference.statistics
        )

    def _note(self, images: ImageSet, failures: Mapping[str, str]) -> None:
        self._failures |= {f"{images.label}/{name}": text for name, text in failures.items()}


def _metric(key: str) -> Metric:
    metric: Metric = METRICS.get(key)
    return metric


def _sees_sets(extractor: str) -> bool:
    """Whether an extractor gives features, known before it is made: its weights may be missing."""
    factory = EXTRACTORS.get(extractor)
    kind = getattr(factory, "func", factory)
    return isinstance(kind, type) and issubclass(kind, FeatureExtractor)


def _absent(key: str, reason: Unavailable) -> MetricValue:
    return MetricValue.absent(reason.status, higher_is_better=_metric(key).higher_is_better)
