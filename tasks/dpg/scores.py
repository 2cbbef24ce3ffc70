"""From pictures' scores to DPG-Bench's overall score and its five categories, all of 100."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Label, Observations
from harness.interfaces.errors import Unavailable, counted
from harness.interfaces.types import MetricValue
from harness.metrics import stats
from tasks.dpg.answers import EXTRACTOR
from tasks.shared.prompt_scores import PromptMean, Samples, columns_of, prompts_of


class _Counted(PromptMean):
    """A figure of the prompts that count: one picture without a score drops all four."""

    def counts(self, samples: Samples) -> NDArray[np.bool_]:
        """The pictures of prompts of which every picture has a score."""
        prompts = prompts_of(samples["id"])
        return ~np.isin(prompts, prompts[np.isnan(samples["dpg"])])

    def why_none(self, samples: Samples) -> str:
        """The published prompts come without questions."""
        del samples
        return "there are no questions about these prompts: give them with --data"

    def note(self, samples: Samples) -> str:
        """How many prompts do not count."""
        dropped = len(set(prompts_of(samples["id"])[np.isnan(samples["dpg"])]))
        return (
            f"{counted(dropped, 'prompt')} dropped, as the published script does" if dropped else ""
        )


class Overall(_Counted):
    """Mean over prompts of the mean over their pictures."""

    def __init__(self) -> None:
        super().__init__("dpg", EXTRACTOR, label=Label("Overall", 2), scale=100)

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean, 0 to 100, with an interval over prompts."""
        del settings
        samples = columns_of(observations)
        own = super().counts(samples)
        if not own.any():
            raise Unavailable(self.why_none(samples))
        rows = observations.samples[own]
        means = rows.groupby(prompts_of(samples["id"][own]), sort=False)["dpg"].mean()
        prompts = means.to_numpy(np.float64)
        found = stats.mean_interval(100 * prompts, observations.seed)
        interval = found._replace(method=found.method.replace("samples", "prompts"))
        return interval.around(100 * float(prompts.mean()), len(rows), self.note(samples))

    def of_samples(
        self, samples: Samples, settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of pictures; every prompt has the same weight."""
        values, _ = super().of_samples(samples, settings)
        _, prompt, pictures = np.unique(
            prompts_of(samples["id"]), return_inverse=True, return_counts=True
        )
        return values, 1 / pictures[prompt]


class Category(_Counted):
    """Share of a category's questions answered with yes, 0 to 100, over all prompts together.

    Args:
        name: The broad category.
    """

    def __init__(self, name: str) -> None:
        label = Label(name.capitalize(), 2)
        super().__init__(f"{name}_yes", EXTRACTOR, label=label, weight=f"{name}_asked", scale=100)
        self.name = name

    def counts(self, samples: Samples) -> NDArray[np.bool_]:
        """The pictures that were asked a question of the category."""
        return super().counts(samples) & (samples[f"{self.name}_asked"] > 0)

    def why_none(self, samples: Samples) -> str:
        """Nothing counts, or nothing of this category was asked."""
        if super().counts(samples).any():
            return f"no question of the category {self.name}"
        return super().why_none(samples)


OVERALL = Overall()
GLOBAL, ENTITY, ATTRIBUTE, RELATION, OTHER = (
    Category(name) for name in ("global", "entity", "attribute", "relation", "other")
)
