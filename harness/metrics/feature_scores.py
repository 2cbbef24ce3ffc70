"""The metrics of a task that compare sets of network features, not pairs of images.

Reconstructions are compared with their originals, generated images with a reference set.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.interfaces import Label, Observations
from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue

if TYPE_CHECKING:
    import numpy as np

# What protocols written before these metrics leave open.
_KID = {"subsets": 100, "subset_size": 1000, "seed": 2020}
_SCORE = {"rule": "single"}
_MANIFOLDS = {"k": 3, "precision": "float32"}


def _features(observations: Observations, column: str) -> np.ndarray:
    """A feature column, float32 (n, d), without broken rows; the sample of one is named."""
    from harness.metrics.sets import nonfinite_row

    rows = observations.features.get(column)
    if rows is None and observations.features:
        raise Unavailable("there is no reference to compare with: give one with --data")
    if rows is None or len(rows) == 0:
        raise Unavailable("no sample was observed")
    if (row := nonfinite_row(rows)) is not None:
        name = observations.samples["id"].iloc[row]
        raise Unavailable(f"{column} of sample {name!r} is not finite")
    return rows


def _pair(observations: Observations, output: str) -> tuple[np.ndarray, np.ndarray]:
    """Features of the reference and of what is judged."""
    known = observations.reference
    return (
        _features(observations, f"reference_{output}") if known is None else known.rows(output),
        _features(observations, f"reconstruction_{output}"),
    )


class ReconstructionFrechet:
    """Fréchet distance to the originals or the reference: rFID, gFID, or sFID of another output.

    Args:
        extractor: The extractor of the features.
        label: How it is printed.
        output: The network's output; the protocol's tap where None.
    """

    higher_is_better: bool | None = False

    def __init__(self, extractor: str, label: Label, output: str | None = None) -> None:
        self.label = label
        self.needs: tuple[str, ...] = (extractor,)
        self._output = output

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The distance; withheld for too few images, where its bias would be its value."""
        from harness.metrics.sets import FeatureSet, fid

        inception = settings["inception"]
        output = self._output or inception["tap"]
        known = observations.reference
        if known is None:
            reference = FeatureSet(_features(observations, f"reference_{output}"))
        else:
            reference = known.distribution(output)
        return fid(
            reference,
            FeatureSet(_features(observations, f"reconstruction_{output}")),
            seed=observations.seed,
            min_samples=inception["min_samples"],
            small_sets=observations.small_sets,
            paired=known is None,
        )


class ReconstructionKid:
    """KID between originals and reconstructions.

    Its estimator takes the sets for independent: an image that both subsets hold lies close to its
    own reconstruction, which lowers the value, below 0 for good reconstructions.
    """

    needs: tuple[str, ...] = ("inception",)
    higher_is_better: bool | None = False
    label = Label("KID", 4)

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The distance; it has no bias from few images, so one subset's size is enough."""
        from harness.metrics.sets import FeatureSet, kid

        reference, samples = _pair(observations, settings["inception"]["tap"])
        rule = settings.get("kid", _KID)
        return kid(
            FeatureSet(reference),
            FeatureSet(samples),
            min_samples=rule["subset_size"],
            small_sets=observations.small_sets,
            **rule,
        )


class ReconstructionScore:
    """Inception Score of the reconstructions."""

    needs: tuple[str, ...] = ("inception_logits",)
    higher_is_better: bool | None = True
    label = Label("IS", 1)

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The score, by the protocol's rule of splits."""
        from harness.metrics.sets import inception_score

        logits = _features(observations, "reconstruction_logits")
        rule = settings.get("inception_score", _SCORE)["rule"]
        return inception_score(logits, rule=rule, seed=observations.seed)


class Manifold:
    """Precision, recall, density or coverage of the reconstructions.

    Args:
        figure: Which of the four; they come out of one computation.
        label: How it is printed.
    """

    needs: tuple[str, ...] = ("inception",)
    higher_is_better: bool | None = True

    def __init__(self, figure: str, label: Label) -> None:
        self.label = label
        self._figure = figure

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The figure, under the protocol's number of neighbours and precision."""
        rule = settings.get("prc", _MANIFOLDS)
        tap = settings["inception"]["tap"]
        return _MANIFOLD_CELLS.of(observations, tap, rule["k"], rule["precision"])[self._figure]


class _ManifoldCells:
    """The four figures of the observations that were scored last."""

    def __init__(self) -> None:
        self._observations: weakref.ref[Observations] | None = None
        self._rule: tuple[str, int, str] | None = None
        self._cells: dict[str, MetricValue] = {}

    def of(
        self, observations: Observations, tap: str, k: int, precision: Any
    ) -> dict[str, MetricValue]:
        from harness.metrics.sets import precision_recall

        known = self._observations() if self._observations is not None else None
        if known is not observations or self._rule != (tap, k, precision):
            reference, samples = _pair(observations, tap)
            self._cells = precision_recall(
                reference, samples, k=k, precision=precision, seed=observations.seed
            )
            self._observations = weakref.ref(observations)
            self._rule = (tap, k, precision)
        return self._cells


_MANIFOLD_CELLS = _ManifoldCells()

RFID = ReconstructionFrechet("inception", Label("rFID", 2))
GFID = ReconstructionFrechet("inception", Label("gFID", 2))
FID = ReconstructionFrechet("inception", Label("FID", 2))
SFID = ReconstructionFrechet("inception_spatial", Label("sFID", 2), "spatial")
KID = ReconstructionKid()
INCEPTION_SCORE = ReconstructionScore()
PRECISION = Manifold("precision", Label("Prec."))
RECALL = Manifold("recall", Label("Rec."))
DENSITY = Manifold("density", Label("density"))
COVERAGE = Manifold("coverage", Label("coverage"))
