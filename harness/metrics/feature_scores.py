"""Metrics that compare sets of network features, not images one by one: FID and its kin.

Reconstructions are compared with their originals, generated images and sets of files with a
reference. Numpy and the networks' code are imported where a score is computed; see
`harness.metrics.scores`.
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

    from harness.metrics.features import FeatureSet

# What protocols written before these metrics leave open.
_KID = {"subsets": 100, "subset_size": 1000, "seed": 2020}
_SCORE = {"rule": "single"}
_MANIFOLDS = {"k": 3, "precision": "float32"}
_MIN_SAMPLES = 2048
_INFINITY = {"points": 15, "smallest": 5000}


def tap(settings: Mapping[str, Any]) -> str:
    """The output of the Inception network that a protocol's distances compare."""
    output: str = settings["inception"].get("tap", "pool3")
    return output


def reference_column(output: str) -> str:
    """The stored column of the originals' features."""
    return f"reference_{output}"


def output_column(output: str) -> str:
    """The stored column of the judged images' features.

    Generated images have it too, though nothing was reconstructed: run directories have held their
    features under this name since the first version, and must stay readable.
    """
    return f"reconstruction_{output}"


class _FeatureMetric:
    """What metrics of features share: which extractor's, and which output of its network.

    Args:
        label: How it is printed.
        extractor: The extractor of the features.
        output: The network's output; by default that of the extractor's name, and of the Inception
            network the protocol's tap.
    """

    def __init__(self, label: Label, extractor: str = "inception", output: str = "") -> None:
        self.label = label
        self.needs: tuple[str, ...] = (extractor,)
        self._output = output or ("" if extractor == "inception" else extractor)

    def output(self, settings: Mapping[str, Any]) -> str:
        """The network's output whose features are compared."""
        return self._output or tap(settings)

    def judged(self, observations: Observations, settings: Mapping[str, Any]) -> np.ndarray:
        """Features of what is judged, float32 (n, d)."""
        return _features(observations, output_column(self.output(settings)))

    def reference(self, observations: Observations, settings: Mapping[str, Any]) -> np.ndarray:
        """Features of originals or reference, float32 (n, d)."""
        output, known = self.output(settings), observations.reference
        if known is not None:
            return known.rows(output)
        return _features(observations, reference_column(output))


def _features(observations: Observations, column: str) -> np.ndarray:
    """A feature column without broken rows; raise `Unavailable` naming the sample of one."""
    from harness.metrics.checks import nonfinite_row

    rows = observations.features.get(column)
    if rows is None and observations.features:
        raise Unavailable("there is no reference to compare with: give one with --data")
    if rows is None or len(rows) == 0:
        raise Unavailable("no sample was observed")
    if (row := nonfinite_row(rows)) is not None:
        name = observations.samples["id"].iloc[row]
        raise Unavailable(f"{column} of sample {name!r} is not finite")
    return rows


class FrechetDistance(_FeatureMetric):
    """Fréchet distance to the originals or the reference: FID where the network is Inception.

    Args:
        label: How it is printed.
        extractor: The extractor of the features.
        output: The network's output.
        instead: The metric of the same features that is shown too where this one is withheld.
    """

    higher_is_better: bool | None = False

    def __init__(
        self, label: Label, extractor: str = "inception", output: str = "", instead: str = ""
    ) -> None:
        super().__init__(label, extractor, output)
        self.instead = instead

    def sides(
        self, observations: Observations, settings: Mapping[str, Any]
    ) -> tuple[FeatureSet, FeatureSet]:
        """Originals or reference, of which statistics may be all that is known; the judged."""
        from harness.metrics.features import FeatureSet

        known = observations.reference
        if known is None:
            reference = FeatureSet(self.reference(observations, settings))
        else:
            reference = known.distribution(self.output(settings))
        return reference, FeatureSet(self.judged(observations, settings))

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The distance; withheld for too few images, where its bias would be its value."""
        from harness.metrics.frechet import frechet_value

        return frechet_value(
            *self.sides(observations, settings),
            seed=observations.seed,
            min_samples=_least(settings),
            small_sets=observations.small_sets,
            paired=observations.reference is None,
            extrapolate=observations.extrapolate,
        )


class FrechetAtInfinity(FrechetDistance):
    """The Fréchet distance that infinitely many images would have: FID∞ of Inception's features."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The distance, extrapolated from subsets of the stored features."""
        from harness.metrics.fid_infinity import infinity_value

        return infinity_value(
            *self.sides(observations, settings),
            seed=observations.seed,
            small_sets=observations.small_sets,
            paired=observations.reference is None,
            **settings.get("fid_inf", _INFINITY),
        )


def _least(settings: Mapping[str, Any]) -> int:
    """Images below which Fréchet distances are withheld."""
    least: int = settings.get("inception", {}).get("min_samples", _MIN_SAMPLES)
    return least


class KernelInceptionDistance(_FeatureMetric):
    """KID (Bińkowski et al. 2018) to the originals or the reference.

    Its estimator takes the sets for independent: an original that both subsets hold lies close to
    its own reconstruction, which lowers the value, below 0 for good reconstructions.
    """

    higher_is_better: bool | None = False

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The distance; it has no bias from few images, so one subset's size is enough."""
        from harness.metrics.features import FeatureSet
        from harness.metrics.kid import kid_value

        rule = settings.get("kid", _KID)
        return kid_value(
            FeatureSet(self.reference(observations, settings)),
            FeatureSet(self.judged(observations, settings)),
            min_samples=rule["subset_size"],
            small_sets=observations.small_sets,
            **rule,
        )


class KernelDistanceOfFew(_FeatureMetric):
    """KID of fewer images than FID takes; of pairs, without the kernels of an image with itself."""

    higher_is_better: bool | None = False

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The distance over the whole sets, noted as that of few images."""
        from harness.metrics.features import FeatureSet
        from harness.metrics.kid import kid_of_few

        return kid_of_few(
            FeatureSet(self.reference(observations, settings)),
            FeatureSet(self.judged(observations, settings)),
            paired=observations.reference is None,
            most=_least(settings),
        )


class ClipDiscrepancy(_FeatureMetric):
    """CMMD (Jayasumana et al. 2024): discrepancy of CLIP's embeddings; few images are enough."""

    higher_is_better: bool | None = False

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The discrepancy between the whole sets."""
        from harness.metrics.cmmd import cmmd_value

        reference, judged = (side(observations, settings) for side in (self.reference, self.judged))
        return cmmd_value(reference, judged, paired=observations.reference is None)


class InceptionScoreOfImages(_FeatureMetric):
    """Inception Score (Salimans et al. 2016) of the judged images; it needs no reference."""

    higher_is_better: bool | None = True

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The score, by the protocol's rule of splits."""
        from harness.metrics.inception_score import inception_score_value

        rule = settings.get("inception_score", _SCORE)["rule"]
        logits = self.judged(observations, settings)
        return inception_score_value(logits, rule=rule, seed=observations.seed)


class ManifoldFigure(_FeatureMetric):
    """Precision, recall, density or coverage, which come out of one computation.

    Args:
        figure: Which of the four.
        label: How it is printed.
        extractor: The extractor of the features.
        output: The network's output.
    """

    higher_is_better: bool | None = True

    def __init__(
        self, figure: str, label: Label, extractor: str = "inception", output: str = ""
    ) -> None:
        super().__init__(label, extractor, output)
        self._figure = figure

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The figure, under the protocol's number of neighbours and precision."""
        return self._cells(observations, settings)[self._figure]

    def _cells(
        self, observations: Observations, settings: Mapping[str, Any]
    ) -> Mapping[str, MetricValue]:
        from harness.metrics.prdc import precision_recall_values

        global _last
        rule = settings.get("prc", _MANIFOLDS)
        asked = self.output(settings), rule["k"], rule["precision"]
        if _last is not None and _last[0]() is observations and _last[1] == asked:
            return _last[2]
        cells = precision_recall_values(
            self.reference(observations, settings),
            self.judged(observations, settings),
            k=rule["k"],
            precision=rule["precision"],
            seed=observations.seed,
        )
        _last = weakref.ref(observations), asked, cells
        return cells


_last: tuple[weakref.ref[Observations], tuple[Any, ...], Mapping[str, MetricValue]] | None = None
"""The four figures of the observations that were scored last, and what was asked of them."""

_FID = "FID (Heusel et al. 2017): Fréchet distance of Inception's features"
FID = FrechetDistance(Label("FID", 2, about=f"{_FID}, of two sets."))
RFID = FrechetDistance(
    Label("rFID", 2, about=f"{_FID}, of reconstructions to originals."), instead="kid_few"
)
GFID = FrechetDistance(
    Label("gFID", 2, about=f"{_FID}, of generated images to the reference."), instead="kid_few"
)
SFID = FrechetDistance(
    Label("sFID", 2, about="Fréchet distance of Inception's spatial features."),
    *("inception_spatial", "spatial"),
)
KID = KernelInceptionDistance(Label("KID", 4))
KID_FEW = KernelDistanceOfFew(Label("KID (few)", 4))
FID_INF = FrechetAtInfinity(
    Label("FID∞", 2, about="FID of infinitely many images, extrapolated (Chong and Forsyth 2020).")
)
FD_DINOV2 = FrechetDistance(
    Label("FD-DINOv2", 2, about="Fréchet distance of DINOv2's features (Stein et al. 2023)."),
    "dinov2",
)
FD_DINOV2_INF = FrechetAtInfinity(
    Label("FD∞-DINOv2", 2, about="FD-DINOv2 of infinitely many images, extrapolated."), "dinov2"
)
KD_DINOV2 = KernelInceptionDistance(
    Label("KD-DINOv2", 4, about="KID's estimator on DINOv2's features (Stein et al. 2023)."),
    "dinov2",
)
CMMD = ClipDiscrepancy(Label("CMMD"), "clip_336")
INCEPTION_SCORE = InceptionScoreOfImages(Label("IS", 1), "inception_logits", "logits")
PRECISION = ManifoldFigure(
    "precision", Label("Prec.", about="Share of the judged images within the reference's manifold.")
)
RECALL = ManifoldFigure(
    "recall", Label("Rec.", about="Share of the reference within the judged images' manifold.")
)
DENSITY = ManifoldFigure(
    "density",
    Label("density", about="In how many balls of the reference a judged image lies, over k."),
)
COVERAGE = ManifoldFigure(
    "coverage", Label("coverage", about="Share of the reference whose ball holds a judged image.")
)
