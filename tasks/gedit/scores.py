"""GEdit-Bench's figures: means over groups, so that every group weighs the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Label, Observations
from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics import stats
from tasks.gedit.edits import GROUPS


class GroupMacroMean:
    """Mean over groups of the mean over a group's samples.

    Args:
        score: The column: 'sc', 'pq' or 'overall'.
        label: How it is printed.
        intersection: Only samples that every model of the published comparison answered.
    """

    needs: tuple[str, ...] = ("gedit_judge",)
    higher_is_better: bool | None = True

    def __init__(self, score: str, label: Label, *, intersection: bool = False) -> None:
        self.label = label
        self._score = score
        self._intersection = intersection

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The figure from 0 to 10, with an interval over samples within groups."""
        del settings
        rows = observations.samples
        kept = np.ones(len(rows), bool)
        if self._intersection and len(rows):
            kept = rows["intersection"].to_numpy(np.float64) == 1
        if not kept.any():
            raise Unavailable("no sample was judged")
        values = rows[self._score].to_numpy(np.float64)[kept]
        groups = rows["group"].to_numpy(object)[kept]
        judgings = self._judgings(observations)[kept]
        present = len(set(groups))
        missing = "" if present == len(GROUPS) else f"over {present} of {len(GROUPS)} groups"
        notes = [missing, _repeats(judgings, groups)]
        return _interval(values, groups, observations.seed).around(
            macro_mean(values, groups), len(values), "; ".join(filter(None, notes))
        )

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores of samples; every group has the same weight."""
        del settings
        groups = samples["group"].astype(str)
        kept = samples["intersection"] == 1 if self._intersection else np.ones(len(groups), bool)
        names, counts = np.unique(groups[kept], return_counts=True)
        share = dict(zip(names, 1 / counts, strict=True))
        weights = np.array([share.get(group, 0.0) for group in groups])
        return np.where(kept, samples[self._score], np.nan), weights

    def _judgings(self, observations: Observations) -> NDArray[np.float64]:
        """The score of every judging, (n, R), NaN where it has none."""
        sc = np.asarray(observations.features["sc_judgings"], np.float64)
        pq = np.asarray(observations.features["pq_judgings"], np.float64)
        return {"sc": sc, "pq": pq, "overall": np.sqrt(sc * pq)}[self._score]


def macro_mean(values: NDArray[np.float64], groups: np.ndarray) -> float:
    """Unweighted mean of the means of groups: values float64 (n,), groups any (n,)."""
    return float(np.mean([values[groups == group].mean() for group in sorted(set(groups))]))


def _interval(values: NDArray[np.float64], groups: np.ndarray, seed: int) -> stats.Interval:
    """Bootstrap of the macro mean that resamples within every group."""
    names = sorted(set(groups))
    resampled = []
    for place, group in enumerate(names):
        mine = values[groups == group]
        # A seed of its own for each group: with one for all, groups of a size would move together.
        means = stats.clustered_means(mine, np.arange(len(mine)), seed * len(GROUPS) + place)
        if len(means):
            resampled.append(means / len(names))
        else:
            resampled.append(np.full(stats.RESAMPLES, mine[0] / len(names)))
    if len(values) == len(names):
        return stats.NO_INTERVAL  # One sample a group shows no spread.
    return stats.percentiles(np.sum(resampled, axis=0), "bootstrap over samples within groups")


def _repeats(judgings: NDArray[np.float64], groups: np.ndarray) -> str:
    """How far repeated judgings of the same images lie apart; empty for a single one."""
    if judgings.shape[1] < 2:
        return ""
    figures = []
    for column in judgings.T:
        known = ~np.isnan(column)
        if known.any():
            figures.append(macro_mean(column[known], groups[known]))
    lost = int(np.isnan(judgings).sum())
    return f"{judgings.shape[1]} judgings from {min(figures):.3f} to {max(figures):.3f}" + (
        f", {lost} of {judgings.size} without scores" if lost else ""
    )


_FIGURES = {
    "sc": ("G_SC", "Whether edits follow the instruction and change nothing else, 0 to 10"),
    "pq": ("G_PQ", "Whether edits look natural and without artefacts, 0 to 10"),
    "overall": ("G_O", "Root of an edit's G_SC times its G_PQ, 0 to 10"),
}
SEMANTICS, QUALITY, OVERALL = (
    GroupMacroMean(score, Label(title, 2, about=f"{about}: the mean over groups of edits."))
    for score, (title, about) in _FIGURES.items()
)
SEMANTICS_INTERSECTION, QUALITY_INTERSECTION, OVERALL_INTERSECTION = (
    GroupMacroMean(
        score,
        Label(f"{title} int.", 2, about=f"{about}: of edits that all published models answered."),
        intersection=True,
    )
    for score, (title, about) in _FIGURES.items()
)
