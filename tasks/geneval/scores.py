"""From verdicts to GenEval's six task scores and their mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Label, Observations
from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics import stats
from tasks.geneval.prompts import TASKS
from tasks.geneval.verdicts import EXTRACTOR
from tasks.shared.prompt_scores import PromptMean, Samples, columns_of, prompts_of


class TaskScore(PromptMean):
    """Share of right pictures among those of one task's prompts, in [0, 1].

    Args:
        tag: The task.
        label: How it is printed.
    """

    def __init__(self, tag: str, label: Label) -> None:
        super().__init__("correct", EXTRACTOR, label=label)
        self.tag = tag

    def counts(self, samples: Samples) -> NDArray[np.bool_]:
        """The pictures of the task's prompts."""
        return np.asarray(samples["tag"] == self.tag, bool)

    def why_none(self, samples: Samples) -> str:
        """The file, or the choice of prompts, has none of the task."""
        del samples
        return f"no prompt of the task {self.tag}"


class Overall(PromptMean):
    """The unweighted mean of the six task scores, as the table prints it."""

    def __init__(self) -> None:
        super().__init__("correct", EXTRACTOR, label=Label("Overall"))

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean in [0, 1]; its interval resamples the prompts of every task."""
        del settings
        samples = columns_of(observations)
        values, means, n = [], [], 0
        for place, tag in enumerate(TASKS):
            own = samples["tag"] == tag
            if not own.any():
                raise Unavailable(f"no prompt of the task {tag}")
            correct = samples["correct"][own].astype(np.float64)
            values.append(correct.mean())
            # A seed of its own for each task: prompts of different tasks are not drawn in step.
            seed = observations.seed + place
            means.append(stats.clustered_means(correct, prompts_of(samples["id"][own]), seed))
            n += len(correct)
        # A task with one prompt says nothing of how prompts differ.
        known = all(len(resampled) for resampled in means)
        resampled = np.mean(means, axis=0) if known else np.empty(0)
        interval = stats.percentiles(resampled, "bootstrap over prompts of each task")
        return interval.around(float(np.mean(values)), n)

    def of_samples(
        self, samples: Samples, settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Verdicts; every task has the same weight."""
        del settings
        _, tag, pictures = np.unique(
            samples["tag"].astype(str), return_inverse=True, return_counts=True
        )
        return samples["correct"], 1 / pictures[tag]


SINGLE_OBJECT = TaskScore("single_object", Label("Single"))
TWO_OBJECT = TaskScore("two_object", Label("Two"))
COUNTING = TaskScore("counting", Label("Count"))
COLORS = TaskScore("colors", Label("Colors"))
POSITION = TaskScore("position", Label("Position"))
COLOR_ATTRIBUTION = TaskScore("color_attr", Label("Attr."))
OVERALL = Overall()
