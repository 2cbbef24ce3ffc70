"""All metrics between a reference and samples under one protocol, as one result record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from harness.engine import provenance
from harness.engine.progress import Progress
from harness.interfaces import Extractor, Observations
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.registry import did_you_mean
from harness.interfaces.types import MetricValue, Protocol, ResultRecord, RunStatus, digest_of
from harness.metrics.extractors import Pixels, lpips_alex, lpips_vgg
from harness.metrics.scores import LPIPS_ALEX, LPIPS_VGG, PSNR, SSIM
from harness.metrics.sets import FeatureSet, fid, inception_score, kid, precision_recall
from harness.sets.features import SetExtractor, SetFeatures
from harness.sets.images import ImageSet
from harness.sets.pairs import observe_pairs, why_not_paired
from harness.sets.reference import Reference
from harness.sets.spec import ALIASES, FEATURE_METRICS, FILES, PAIR_METRICS

_OUTPUTS: Mapping[str, str] = {"sfid": "spatial", "is": "logits"}
"""Network outputs that metrics read; pool3 where not named."""
_DIRECTIONS = {"fid": False, "sfid": False, "kid": False, "is": True}
_PAIRED = {"psnr": PSNR, "ssim": SSIM, "lpips_alex": LPIPS_ALEX, "lpips_vgg": LPIPS_VGG}


def expand_metrics(names: Sequence[str] | None) -> tuple[str, ...]:
    """Metric keys for the names a user gave ('prc', 'lpips' …); all where None."""
    if names is None:
        return FILES.metrics
    keys: list[str] = []
    for name in names:
        if name not in FILES.metrics and name not in ALIASES:
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

    def record(self, keys: Sequence[str], *, explicit: bool) -> ResultRecord:
        """Compute the metrics.

        Args:
            keys: Metric keys.
            explicit: Whether the user named them; a pair metric that cannot be is then an error.
        """
        cells = self._feature_cells([key for key in keys if key in FEATURE_METRICS])
        cells |= self._pair_cells([key for key in keys if key in PAIR_METRICS], explicit=explicit)
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

    def _feature_cells(self, keys: Sequence[str]) -> dict[str, MetricValue]:
        if not keys:
            return {}
        try:
            extractor = SetExtractor(self._settings["inception"], self._device)
        except Unavailable as reason:
            return {key: self._absent(key, reason) for key in keys}
        samples = self._extract(extractor, self.samples, keys)
        images = self.reference.images
        wanted = [key for key in keys if self._needs_reference_images(key)]
        reference = (
            self._extract(extractor, images, wanted) if images is not None and wanted else None
        )
        cells: dict[str, MetricValue] = {}
        for key in keys:
            if key not in cells:
                cells |= self._guarded(key, partial(self._cell, key, reference, samples))
        return {key: cells[key] for key in keys}

    def _needs_reference_images(self, key: str) -> bool:
        stored = {"fid": self.reference.pool, "sfid": self.reference.spatial}
        return key != "is" and stored.get(key) is None

    def _extract(
        self, extractor: SetExtractor, images: ImageSet, keys: Sequence[str]
    ) -> SetFeatures:
        outputs: Any = tuple(dict.fromkeys(_OUTPUTS.get(key, "pool3") for key in keys))
        with self._progress.bar(images.label) as on_progress:
            features = extractor.extract(images, outputs, on_progress)
        self._failures.update(
            {f"{images.label}/{name}": text for name, text in features.failures.items()}
        )
        if not features.ids:
            raise UserError(f"none of the {len(images.ids)} images of {images.label} can be read")
        return features

    def _cell(
        self, key: str, reference: SetFeatures | None, samples: SetFeatures
    ) -> dict[str, MetricValue]:
        output = _OUTPUTS.get(key, "pool3")
        generated = samples.outputs[output]
        if key == "is":
            rule = self._settings["inception_score"]["rule"]
            cell = inception_score(generated, rule=rule, seed=self._seed)
            return {key: _with_order_note(cell, rule, self.samples)}
        known = self._reference_set(key, reference)
        own = FeatureSet(features=generated)
        if key in {"fid", "sfid"}:
            cell = fid(
                known,
                own,
                seed=self._seed,
                min_samples=self._settings["inception"]["min_samples"],
                small_sets=self._small_sets,
                paired=False,
                extrapolate=self._extrapolate,
            )
            return {key: cell}
        if key == "kid":
            rule = self._settings["kid"]
            least = rule["subset_size"]  # Its estimator has no bias that shrinks with the set.
            cell = kid(known, own, min_samples=least, small_sets=self._small_sets, **rule)
            return {key: cell}
        if known.features is None:
            raise Unavailable("the reference holds statistics and no images")
        prc = self._settings["prc"]
        return precision_recall(
            known.features, generated, k=prc["k"], precision=prc["precision"], seed=self._seed
        )

    def _reference_set(self, key: str, reference: SetFeatures | None) -> FeatureSet:
        stored = {"fid": self.reference.pool, "sfid": self.reference.spatial}.get(key)
        if stored is not None:
            return FeatureSet(statistics=stored)
        if reference is None:
            raise Unavailable("the reference holds statistics and no images")
        return FeatureSet(features=reference.outputs[_OUTPUTS.get(key, "pool3")])

    def _pair_cells(self, keys: Sequence[str], *, explicit: bool) -> dict[str, MetricValue]:
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
            return {key: self._absent(key, absent) for key in keys}
        cells: dict[str, MetricValue] = {}
        extractors: dict[str, Extractor] = {}
        for key in keys:
            try:
                extractors.setdefault(_extractor_name(key), self._extractor(key))
            except Unavailable as unavailable:
                cells[key] = self._absent(key, unavailable)
        ready = [key for key in keys if key not in cells]
        if not ready:
            return cells
        with self._progress.bar("pairs") as on_progress:
            rows, failures = observe_pairs(
                images, self.samples, extractors, self._device, on_progress
            )
        self._failures.update(failures)
        observed = Observations(samples=rows, seed=self._seed)
        for key in ready:
            cells |= self._guarded(key, partial(self._mean, key, observed))
        return cells

    def _mean(self, key: str, observed: Observations) -> dict[str, MetricValue]:
        return {key: _PAIRED[key].score(observed, self._settings)}

    def _extractor(self, key: str) -> Extractor:
        factories: dict[str, Callable[..., Extractor]] = {
            "lpips_alex": lpips_alex,
            "lpips_vgg": lpips_vgg,
        }
        return factories.get(key, Pixels)(self._settings, self._device)

    def _guarded(
        self, key: str, compute: Callable[[], dict[str, MetricValue]]
    ) -> dict[str, MetricValue]:
        try:
            cells = compute()
        except Unavailable as reason:
            return {key: self._absent(key, reason)}
        return {
            name: cell.model_copy(update={"higher_is_better": _direction(name)})
            for name, cell in cells.items()
        }

    def _absent(self, key: str, reason: Unavailable) -> MetricValue:
        return MetricValue.absent(reason.status, higher_is_better=_direction(key))


def _direction(key: str) -> bool | None:
    if key in _PAIRED:
        return _PAIRED[key].higher_is_better
    return _DIRECTIONS.get(key, True)


def _extractor_name(key: str) -> str:
    return key if key.startswith("lpips") else "pixels"


def _with_order_note(cell: MetricValue, rule: str, samples: ImageSet) -> MetricValue:
    if rule != "adm" or not samples.class_sorted:
        return cell
    note = "samples lie class by class, so sequential splits see few classes each: shuffle them"
    return cell.model_copy(update={"note": f"{cell.note}; {note}" if cell.note else note})
