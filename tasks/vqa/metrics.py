"""The suites' figures: pure functions of replies and their scores, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Extractor, Label, Observations
from harness.interfaces.errors import Unavailable, counted
from harness.interfaces.types import MetricValue
from harness.metrics.stats import NO_INTERVAL, RESAMPLES, Interval, percentiles, wilson
from tasks.vqa.scorers.literal import COGNITION, PERCEPTION

if TYPE_CHECKING:
    import pandas as pd

ANSWERS = "answers"
"""Name under which replies and their scores are kept as observations."""
_FULL = 100.0
"""Marks for one question of MME's pair, and once more for both."""
_BATCH_ELEMENTS = 1 << 22

Figure = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From sums of every column (resamples, columns) to the figure (resamples,)."""


def answers(settings: Mapping[str, Any], device: str) -> Extractor:
    """Replies are observed by the suites alone; raise `Unavailable` for every other task."""
    del settings, device
    raise Unavailable("this task asks no questions", kind="not applicable")


def cluster_sums(
    clusters: Sequence[str], values: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.float64]]:
    """Add up rows of the same cluster.

    Args:
        clusters: The cluster of each row.
        values: float (n, columns).

    Returns:
        the clusters in the order of their first rows, and their sums, float64 (clusters, columns).
    """
    places = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(places), values.shape[1]))
    np.add.at(sums, [places[name] for name in clusters], values)
    return list(places), sums


def cluster_interval(
    sums: NDArray[np.float64], figure: Figure, seed: int, strata: Sequence[str] | None = None
) -> Interval:
    """Percentile bootstrap over clusters; none for fewer than two, or where no resample is finite.

    Args:
        sums: What a cluster adds to the sums that the figure is made of, (clusters, columns).
        figure: The figure of such sums.
        seed: Seeds the resampling, so that the same observations give the same interval.
        strata: Groups of clusters whose sizes are fixed, one a cluster; none where None.
    """
    if len(sums) < 2:
        return NO_INTERVAL
    # A resample is how often each cluster was drawn, so sums come from one matrix product and
    # nothing is gathered row by row: 214,354 questions of VQAv2 take seconds.
    rng = np.random.default_rng(seed)
    names = (
        np.zeros(len(sums), int) if strata is None else np.unique(strata, return_inverse=True)[1]
    )
    members = [np.flatnonzero(names == stratum) for stratum in range(names.max() + 1)]
    step = max(1, _BATCH_ELEMENTS // len(sums))
    drawn = []
    for start in range(0, RESAMPLES, step):
        total = np.zeros((min(step, RESAMPLES - start), sums.shape[1]))
        for rows in members:  # Each stratum keeps its size, as MME's kinds of questions do.
            even = np.full(len(rows), 1 / len(rows))
            total += rng.multinomial(len(rows), even, len(total)) @ sums[rows]
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn.append(figure(total))
    values = np.concatenate(drawn)
    return percentiles(values[np.isfinite(values)], f"bootstrap over {len(sums)} clusters")


def _total(columns: NDArray[np.float64], figure: Figure) -> float:
    """The figure of all rows together."""
    return float(figure(columns.sum(axis=0, keepdims=True))[0])


def _over_clusters(
    rows: pd.DataFrame, columns: NDArray[np.float64], figure: Figure, seed: int, note: str = ""
) -> MetricValue:
    """The figure of all rows, with an interval over their clusters."""
    _, sums = cluster_sums(list(rows["cluster"]), columns)
    return cluster_interval(sums, figure, seed).around(_total(columns, figure), len(rows), note)


@dataclass
class _Figure:
    """A figure of replies."""

    higher_is_better: bool | None = field(default=True, init=False)
    needs: tuple[str, ...] = field(default=(ANSWERS,), init=False)
    label: Label
    """How it is printed."""


def _rows(observations: Observations, keep: Callable[[str], bool] | None = None) -> pd.DataFrame:
    """The rows of the categories that count; raise `Unavailable` where there are none."""
    rows = observations.samples
    if len(rows) == 0:
        raise Unavailable("no reply was observed")
    chosen = rows if keep is None else rows[rows["category"].map(keep)]
    if len(chosen) == 0:
        raise Unavailable("no question of this kind was asked", kind="not applicable")
    if chosen["score"].isna().any():
        raise Unavailable("the right answers are not public: upload the submission file")
    return chosen


def _mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = sums[:, 0] / sums[:, 1]
    return mean


@dataclass
class Accuracy(_Figure):
    """Mean score of the replies."""

    category: str | None = None
    """Whose questions count; the protocol's headline where None, all where empty."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean in [0, 1], with an interval over pictures."""
        wanted = settings.get("headline", "") if self.category is None else self.category
        rows = _rows(observations, (lambda category: category == wanted) if wanted else None)
        scores = rows["score"].to_numpy(np.float64)
        columns = np.column_stack([scores, np.ones(len(scores))])
        return _over_clusters(rows, columns, _mean, observations.seed)

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores of the replies that count; equal weights."""
        wanted = settings.get("headline", "") if self.category is None else self.category
        counted = samples["category"] == wanted if wanted else np.ones(len(samples["id"]), bool)
        return np.where(counted, samples["score"], np.nan), np.ones(len(counted))

    def clusters_of(self, samples: Mapping[str, np.ndarray]) -> np.ndarray:
        """The picture that a question is about: answers about one picture are not independent."""
        return samples["cluster"]


@dataclass
class YesF1(_Figure):
    """F1 of 'yes' among literal replies: of all questions, or the mean over splits."""

    by_split: bool
    """Whether the figure is the mean of each split's own."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """F1 in [0, 1]; replies that are neither yes nor no lower nothing but accuracy."""
        del settings
        rows = _rows(observations)
        yes = (rows["answer"] == "yes").to_numpy()
        said_yes, said_no = ((rows["prediction"] == word).to_numpy() for word in ("yes", "no"))
        counts = np.column_stack([yes & said_yes, ~yes & said_yes, yes & said_no])
        category = rows["category"].to_numpy()
        splits = sorted(set(category)) if self.by_split else []
        if "" in splits:
            # lmms-eval asks and scores such rows too: they lack this figure alone.
            bare = counted(int((category == "").sum()), "question")
            raise Unavailable(f"{bare} without a category, so no splits", kind="not applicable")
        kept = [(category == name)[:, None] for name in splits] or [np.ones((len(rows), 1), bool)]
        columns = np.concatenate([counts & part for part in kept], axis=1).astype(np.float64)

        def figure(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            right, false, missed = sums.reshape(len(sums), len(kept), 3).transpose(2, 0, 1)
            whole = 2 * right + false + missed
            f1 = np.divide(2 * right, whole, out=np.zeros_like(whole), where=whole > 0)
            mean: NDArray[np.float64] = f1.mean(axis=1)
            return mean

        note = f"mean of {', '.join(splits)}" if self.by_split else ""
        return _over_clusters(rows, columns, figure, observations.seed, note)


@dataclass
class PairScore(_Figure):
    """MME's marks: of every kind of question the mean over pairs, added up."""

    categories: tuple[str, ...]
    """The kinds of questions that count."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The sum, at most 200 for each kind; pairs without two replies are left out."""
        del settings
        rows = _rows(observations, lambda category: category in self.categories)
        pairs = rows.groupby("cluster", sort=False).agg(
            category=("category", "first"), score=("score", "sum"), replies=("score", "size")
        )
        whole = pairs[pairs["replies"] == 2]
        if len(whole) == 0:
            raise Unavailable("no picture has replies to both of its questions")
        kinds = sorted(set(whole["category"]))
        marks = _FULL * (whole["score"] / 2 + (whole["score"] == 2)).to_numpy(np.float64)
        member = np.stack([(whole["category"] == kind).to_numpy() for kind in kinds], axis=1)
        sums = np.concatenate([marks[:, None] * member, member], axis=1).astype(np.float64)

        def figure(total: NDArray[np.float64]) -> NDArray[np.float64]:
            added: NDArray[np.float64] = (total[:, : len(kinds)] / total[:, len(kinds) :]).sum(
                axis=1
            )
            return added

        left_out, lacking = len(pairs) - len(whole), len(self.categories) - len(kinds)
        notes = (
            [f"{counted(left_out, 'picture')} without both replies left out"] if left_out else []
        )
        notes += [f"{lacking} of {len(self.categories)} kinds not asked"] if lacking else []
        interval = cluster_interval(sums, figure, observations.seed, list(whole["category"]))
        return interval.around(_total(sums, figure), 2 * len(whole), "; ".join(notes))


class RandomisedAccuracy(_Figure):
    """MMMU as lmms-eval counts it: a reply that names no option gets a random one."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The accuracy over all replies, with Wilson's interval."""
        del settings
        rows = _rows(observations)
        if "random_accuracy" not in rows:
            raise Unavailable("only MMMU draws options", kind="not applicable")
        value, n = float(rows["random_accuracy"].iloc[0]), int(rows["random_n"].iloc[0])
        note = "replies that name no option get a random one"
        return wilson(round(value * n), n).around(value, n, note)


@dataclass
class LmmsFigure:
    """A figure as lmms-eval counts it, of any of its tasks."""

    name: str
    """The column of its scores, where it is their mean; begins those of what else is known."""
    higher_is_better: bool | None
    label: Label
    needs: tuple[str, ...] = (ANSWERS,)

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean of scores with an interval over pictures, or lmms-eval's own figure."""
        del settings
        rows = observations.samples
        if self.name in rows:
            rows = rows[rows[self.name].notna()]
            if len(rows) == 0:
                raise Unavailable("no question of this kind was asked", kind="not applicable")
            scores = rows[self.name].to_numpy(np.float64)
            columns = np.column_stack([scores, np.ones(len(scores))])
            found = _over_clusters(rows, columns, _mean, observations.seed)
            # Sums of clusters round otherwise than the mean that lmms-eval takes.
            return found.model_copy(update={"value": float(scores.mean())})
        if f"{self.name} value" not in rows or len(rows) == 0:
            raise Unavailable("lmms-eval gave no such figure", kind="not applicable")
        facts = {key: rows[f"{self.name} {key}"].iloc[0] for key in ("value", "low", "high", "n")}
        value, low, high, n = (None if each != each else float(each) for each in facts.values())
        if value is None:
            raise Unavailable(str(rows[f"{self.name} method"].iloc[0]))
        method = str(rows[f"{self.name} method"].iloc[0])
        return MetricValue(value=value, ci_low=low, ci_high=high, n=int(n or 0), method=method)

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores of the questions that count; equal weights."""
        del settings
        scores = samples[self.name]
        return scores, np.ones(len(scores))

    def clusters_of(self, samples: Mapping[str, np.ndarray]) -> np.ndarray:
        """The picture that a question is about."""
        return samples["cluster"]


_MEAN = "Mean score of the replies"
_F1 = "F1 of 'yes' among literal replies"
_MARKS = "MME's marks: sum of the means over pairs of every kind of question of"
ACCURACY = Accuracy(Label("accuracy", 1, percent=True))
ACCURACY_ALL = Accuracy(Label("with videos", 1, percent=True, about=f"{_MEAN}, videos' too."), "")
ACCURACY_HUMAN = Accuracy(
    Label("human", 1, percent=True, about=f"{_MEAN} to people's questions."), "human"
)
ACCURACY_AUGMENTED = Accuracy(
    Label("augmented", 1, percent=True, about=f"{_MEAN} to generated questions."), "augmented"
)
ACCURACY_RANDOM = RandomisedAccuracy(Label("random fallback", 1, percent=True))
F1 = YesF1(Label("F1", 1, percent=True, about=f"{_F1}, of all questions."), by_split=False)
F1_SPLIT_MEAN = YesF1(
    Label("F1 by split", 1, percent=True, about=f"{_F1}, the mean over splits."), by_split=True
)
PERCEPTION_SCORE = PairScore(
    Label("MME-P", 1, about=f"{_MARKS} perception, 0 to 2,000."), PERCEPTION
)
COGNITION_SCORE = PairScore(
    Label("cognition", 1, about=f"{_MARKS} cognition, 0 to 800."), COGNITION
)
TOTAL = PairScore(Label("MME-S", 1, about=f"{_MARKS} both, 0 to 2,800."), (*PERCEPTION, *COGNITION))
