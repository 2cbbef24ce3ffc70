"""From pictures' scores to DPG-Bench's overall score and its five categories, all of 100."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.interfaces import Label, Observations
from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics import stats
from tasks.dpg.answers import EXTRACTOR
from tasks.shared.text_to_image import prompts_of

if TYPE_CHECKING:
    import pandas as pd


class Overall:
    """Mean over prompts of the mean over their pictures."""

    label = Label("Overall", 2)
    needs: tuple[str, ...] = (EXTRACTOR,)
    higher_is_better: bool | None = True

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean, 0 to 100, with an interval over prompts."""
        del settings
        rows, dropped = _counted(observations.samples)
        means = rows.groupby(_prompts(rows), sort=False)["dpg"].mean().to_numpy(np.float64)
        low, high, method = stats.mean_interval(100 * means, observations.seed)
        return MetricValue(
            value=100 * float(means.mean()),
            ci_low=low,
            ci_high=high,
            n=len(rows),
            method=method.replace("samples", "prompts"),
            note=_note(dropped),
        )

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of pictures; every prompt has the same weight, one with an unknown score none."""
        del settings
        _, prompt, pictures = np.unique(
            prompts_of(samples["id"]), return_inverse=True, return_counts=True
        )
        unknown = np.bincount(prompt, np.isnan(samples["dpg"])) > 0
        values = np.where(unknown[prompt], np.nan, 100 * samples["dpg"])
        return values, 1 / pictures[prompt]

    def clusters_of(self, samples: Mapping[str, np.ndarray]) -> np.ndarray:
        """Pictures of one prompt hang together."""
        return prompts_of(samples["id"])


class Category:
    """Share of a category's questions that are answered with yes, over all prompts together.

    Args:
        name: The broad category.
    """

    needs: tuple[str, ...] = (EXTRACTOR,)
    higher_is_better: bool | None = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.label = Label(name.capitalize(), 2)

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The share, 0 to 100, with an interval over prompts."""
        del settings
        rows, dropped = _counted(observations.samples)
        asked = rows[f"{self.name}_asked"].to_numpy(np.float64)
        own = asked > 0
        if not own.any():
            raise Unavailable(f"no question of the category {self.name}")
        rows, asked = rows[own], asked[own]
        yes = rows[f"{self.name}_yes"].to_numpy(np.float64)
        prompts = _prompts(rows).to_numpy(object)
        means = stats.clustered_means(yes, prompts, observations.seed, weights=asked)
        low, high, method = stats.percentiles(100 * means, "bootstrap over prompts")
        return MetricValue(
            value=100 * float(yes.sum() / asked.sum()),
            ci_low=low,
            ci_high=high,
            n=len(rows),
            method=method,
            note=_note(dropped),
        )

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the category's questions, weighted by how many there are."""
        del settings
        asked = samples[f"{self.name}_asked"]
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(asked > 0, 100 * samples[f"{self.name}_yes"] / asked, np.nan)
        prompts = prompts_of(samples["id"])
        dropped = np.isin(prompts, prompts[np.isnan(samples["dpg"])])
        return np.where(dropped, np.nan, values), asked

    def clusters_of(self, samples: Mapping[str, np.ndarray]) -> np.ndarray:
        """Pictures of one prompt hang together."""
        return prompts_of(samples["id"])


def _prompts(rows: pd.DataFrame) -> pd.Series:
    prompts: pd.Series = rows["id"].str.rpartition("/")[0]
    return prompts


def _counted(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Rows of the prompts that count, and how many prompts do not: one picture drops all four."""
    if len(rows) == 0:
        raise Unavailable("no picture was asked about")
    prompts = _prompts(rows)
    without = set(prompts[rows["dpg"].isna()])
    counted = rows[~prompts.isin(without)]
    if len(counted) == 0:
        raise Unavailable("there are no questions about these prompts: give them with --data")
    return counted, len(without)


def _note(dropped: int) -> str:
    return f"{dropped} prompts dropped, as the published script does" if dropped else ""


OVERALL = Overall()
GLOBAL, ENTITY, ATTRIBUTE, RELATION, OTHER = (
    Category(name) for name in ("global", "entity", "attribute", "relation", "other")
)
