"""From verdicts to GenEval's six task scores and their mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.interfaces import Label, Observations
from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics import stats
from tasks.geneval.verdicts import EXTRACTOR
from tasks.geneval.vocabulary import TASKS
from tasks.shared.text_to_image import prompts_of

if TYPE_CHECKING:
    import pandas as pd


class TaskScore:
    """Share of right pictures among those of one task's prompts.

    Args:
        tag: The task.
        label: How it is printed.
    """

    needs: tuple[str, ...] = (EXTRACTOR,)
    higher_is_better: bool | None = True

    def __init__(self, tag: str, label: Label) -> None:
        self.tag = tag
        self.label = label

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The share in [0, 1]; its interval resamples prompts, not pictures."""
        del settings
        correct, prompts = _of_task(observations.samples, self.tag)
        means = stats.clustered_means(correct, prompts, observations.seed)
        low, high, method = stats.percentiles(means, "bootstrap over prompts")
        return MetricValue(
            value=float(correct.mean()), ci_low=low, ci_high=high, n=len(correct), method=method
        )

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Verdicts of the task's pictures; equal weights."""
        del settings
        own = samples["tag"] == self.tag
        return np.where(own, samples["correct"], np.nan), np.ones(len(own))

    def clusters_of(self, samples: Mapping[str, np.ndarray]) -> np.ndarray:
        """Pictures of one prompt hang together."""
        return prompts_of(samples["id"])


class Overall:
    """The unweighted mean of the six task scores, as the table prints it."""

    label = Label("Overall")
    needs: tuple[str, ...] = (EXTRACTOR,)
    higher_is_better: bool | None = True

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean in [0, 1]; its interval resamples the prompts of every task."""
        del settings
        values, means, n = [], [], 0
        for place, tag in enumerate(TASKS):
            correct, prompts = _of_task(observations.samples, tag)
            values.append(correct.mean())
            means.append(stats.clustered_means(correct, prompts, observations.seed + place))
            n += len(correct)
        # A task with one prompt says nothing of how prompts differ.
        known = all(len(resampled) for resampled in means)
        low, high, method = stats.percentiles(
            np.mean(means, axis=0) if known else np.empty(0), "bootstrap over prompts of each task"
        )
        return MetricValue(
            value=float(np.mean(values)), ci_low=low, ci_high=high, n=n, method=method
        )

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Verdicts; every task has the same weight."""
        del settings
        tags, counts = np.unique(samples["tag"].astype(str), return_counts=True)
        share = dict(zip(tags, 1 / counts, strict=True))
        return samples["correct"], np.array([share[tag] for tag in samples["tag"]])

    def clusters_of(self, samples: Mapping[str, np.ndarray]) -> np.ndarray:
        """Pictures of one prompt hang together."""
        return prompts_of(samples["id"])


def _of_task(rows: pd.DataFrame, tag: str) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts of a task's pictures, float64 (n,), and their prompts' names (n,)."""
    if len(rows) == 0:
        raise Unavailable("no picture was judged")
    own = rows[rows["tag"] == tag]
    if len(own) == 0:
        raise Unavailable(f"no prompt of the task {tag}")
    prompts = own["id"].str.rpartition("/")[0]
    return own["correct"].to_numpy(np.float64), prompts.to_numpy(object)


SINGLE_OBJECT = TaskScore("single_object", Label("Single"))
TWO_OBJECT = TaskScore("two_object", Label("Two"))
COUNTING = TaskScore("counting", Label("Count"))
COLORS = TaskScore("colors", Label("Colors"))
POSITION = TaskScore("position", Label("Position"))
COLOR_ATTRIBUTION = TaskScore("color_attr", Label("Attr."))
OVERALL = Overall()
