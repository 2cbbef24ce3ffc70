"""All metrics between a reference and samples under one protocol, as one result record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from harness.data.assets import fetched_on_need
from harness.data.images import DecodeRule
from harness.engine import protocols, provenance
from harness.engine.plan import make_extractors, metric
from harness.engine.progress import Progress
from harness.engine.run_file import run_name
from harness.engine.score import absent_cell, cell_of
from harness.engine.world import World, resolve_device
from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable, UserError, did_you_mean
from harness.interfaces.registry import EXTRACTORS, METRICS
from harness.interfaces.types import (
    MetricValue,
    Protocol,
    ResultRecord,
    RunStatus,
    Status,
    digest_of,
)
from harness.metrics.extractors import FeatureExtractor
from harness.metrics.feature_scores import (
    FrechetDistance,
    InceptionScoreOfImages,
    output_column,
)
from harness.sets import ALIASES, BY_NAME, FILES
from harness.sets.images import ImageSet, Reference, open_images, open_originals
from harness.sets.observe import (
    SizesDiffer,
    observe_pairs,
    observe_set,
    reference_features,
    why_not_paired,
)


def expand_metrics(names: Sequence[str] | None) -> tuple[str, ...]:
    """Metric keys for the names a user gave ('prc', 'lpips' …); all that ship where None.

    Raises:
        UserError: A name of no metric, or of one that observes nothing of sets of images.
    """
    if names is None:
        return FILES.metrics
    ours = {*FILES.metrics, *BY_NAME, *ALIASES}
    keys: list[str] = []
    for given in names:
        name = given.lower() if given.lower() in ALIASES else METRICS.spelled(given)
        if name not in ALIASES and name not in METRICS:
            hint = did_you_mean(given, ours, METRICS.names())
            raise UserError(f"unknown metric {given!r}: {hint}")
        if name not in ours and (METRICS.built_in(name) or not METRICS.get(name).needs):
            whose = "a task's runs" if METRICS.get(name).needs else "a run's codes"
            raise UserError(
                f"metric {given!r} is of {whose}: sets of images have {', '.join(sorted(ours))}"
            )
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
        self._pairs = pd.DataFrame({"id": pd.Series(dtype=str)})

    def record(self, keys: Sequence[str], *, explicit: bool) -> ResultRecord:
        """Compute the metrics.

        Args:
            keys: Metric keys.
            explicit: Whether the user named them; a pair metric that cannot be is then an error.
        """
        of_sets = [key for key in keys if all(map(_sees_sets, metric(key).needs))]
        cells = self._set_cells(of_sets)
        cells |= self._pair_cells([key for key in keys if key not in of_sets], explicit=explicit)
        n_failed = len(self._failures)
        return ResultRecord(
            run_id=run_name(FILES.name, self.samples.label, self._protocol.name, self._digest()),
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

    def rows(self) -> pd.DataFrame:
        """A row an image that is judged: id, status, error, and what was observed of its pair."""
        rows = pd.DataFrame({"id": list(self.samples.ids)})
        errors = {name.partition("/")[2]: text for name, text in self._failures.items()}
        rows["error"] = [errors.get(name, "") for name in self.samples.ids]
        rows["status"] = np.where(rows["error"] == "", Status.OK, Status.DECODE_ERROR)
        return rows.merge(self._pairs, on="id", how="left")

    def _digest(self) -> str:
        facts = [self.reference.digest, self.samples.digest, self._protocol.digest]
        return digest_of([*facts, self._seed] if self._seed else facts)

    def _set_cells(self, keys: Sequence[str]) -> dict[str, MetricValue]:
        """Cells of metrics that compare features of the two sets."""
        ready, absent = make_extractors(keys, self._protocol, self._device)
        extractors = {n: e for n, e in ready.items() if isinstance(e, FeatureExtractor)}
        observed = Observations(samples=pd.DataFrame())
        if extractors:
            observed = self._observed_sets(keys, extractors)
        return {key: self._cell(key, observed, absent) for key in keys}

    def _observed_sets(
        self, keys: Sequence[str], extractors: Mapping[str, FeatureExtractor]
    ) -> Observations:
        samples = self.samples
        with self._progress.bar(samples.label) as on_progress:
            seen = observe_set(samples, list(extractors.values()), self._device, on_progress)
        self._note(samples, seen.failures)
        # What a metric reads of stored statistics need not be computed from images.
        wanted = {need for key in keys if not self._knows(key) for need in metric(key).needs}
        originals = [e for name, e in extractors.items() if name in wanted and e.originals]
        with self._progress.bar(self.reference.label) as on_progress:
            known, failures = reference_features(
                self.reference, originals, self._device, on_progress
            )
        if self.reference.images is not None:
            self._note(self.reference.images, failures)
        return Observations(
            samples=pd.DataFrame({"id": seen.ids}),
            features={output_column(output): rows for output, rows in seen.outputs.items()},
            seed=self._seed,
            small_sets=self._small_sets,
            extrapolate=self._extrapolate,
            reference=known,
        )

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
                need = "needs" if len(keys) == 1 else "need"
                raise UserError(f"{', '.join(keys)} {need} pairs of images: {reason}")
            return _without_pairs(keys, reason or "")
        extractors, unavailable = make_extractors(keys, self._protocol, self._device)
        observed = Observations(samples=pd.DataFrame())
        if extractors:
            try:
                with self._progress.bar("pairs") as on_progress:
                    rows, failures = observe_pairs(
                        images, self.samples, extractors, self._device, on_progress
                    )
            except SizesDiffer as error:
                if explicit:
                    raise
                return _without_pairs(keys, str(error))
            self._failures.update(failures)
            self._pairs = rows
            observed = Observations(samples=rows, seed=self._seed)
        return {key: self._cell(key, observed, unavailable) for key in keys}

    def _cell(
        self, key: str, observed: Observations, unavailable: Mapping[str, str]
    ) -> MetricValue:
        cell = cell_of(key, observed, self._settings, unavailable)
        if cell.value is not None and isinstance(metric(key), InceptionScoreOfImages):
            cell = self._with_order_note(cell)
        return cell

    def _with_order_note(self, cell: MetricValue) -> MetricValue:
        if self._settings["inception_score"]["rule"] != "adm" or not self.samples.class_sorted:
            return cell
        note = "samples lie class by class, so sequential splits see few classes each: shuffle them"
        return cell.model_copy(update={"note": f"{cell.note}; {note}" if cell.note else note})

    def _knows(self, key: str) -> bool:
        """Whether the reference stores all that a metric reads of it."""
        plugin = metric(key)
        return (
            isinstance(plugin, FrechetDistance)
            and plugin.output(self._settings) in self.reference.statistics
        )

    def _note(self, images: ImageSet, failures: Mapping[str, str]) -> None:
        self._failures |= {f"{images.label}/{name}": text for name, text in failures.items()}


def _without_pairs(keys: Sequence[str], reason: str) -> dict[str, MetricValue]:
    absent = Unavailable(f"no pairs: {reason}", kind="not applicable")
    return {key: absent_cell(key, absent.status) for key in keys}


def _sees_sets(extractor: str) -> bool:
    """Whether an extractor gives features, known before it is made: its weights may be missing."""
    factory = EXTRACTORS.get(extractor)
    kind = getattr(factory, "func", factory)
    return isinstance(kind, type) and issubclass(kind, FeatureExtractor)


def compare_files(
    reference: str,
    samples: str,
    names: Sequence[str] | None,
    *,
    protocol: str,
    device: str,
    seed: int,
    small_sets: bool,
    extrapolate: bool,
    progress: Progress,
) -> tuple[Comparison, ResultRecord]:
    """Compare two sets of images by where they lie; see `Comparison`.

    Args:
        reference: Folder, archive, data set folder or .npz to compare with.
        samples: The images to judge.
        names: Metrics and groups of them; those of `FILES` if None.
        protocol: Its name, or a .toml file.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: Seeds the intervals.
        small_sets: As for `Comparison`, and so are the others.
        extrapolate: As above.
        progress: As above.

    Raises:
        UserError: Bad input.
    """
    keys = expand_metrics(list(names) if names else None)
    chosen = protocols.find(protocol, FILES)
    rule = DecodeRule(**chosen.settings["decode"])
    with progress.listing() as on_listing:
        known = open_originals(reference, chosen.settings, on_listing)
        judged = open_images(samples, rule, on_listing)
    comparison = Comparison(
        known,
        judged,
        chosen,
        device=resolve_device(device, World()),
        seed=seed,
        small_sets=small_sets,
        extrapolate=extrapolate,
        progress=progress,
    )
    with fetched_on_need(progress):
        return comparison, comparison.record(keys, explicit=names is not None)
