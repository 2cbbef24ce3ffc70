"""Figures of pictures that are drawn of prompts: means whose intervals resample prompts.

Pictures of one prompt are easy or hard together. An interval that resampled pictures would take
them for independent and come out too narrow, by up to the root of the number of pictures a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Label, Observations
from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics import stats

Samples = Mapping[str, np.ndarray]
"""Numbers and texts (n,) by column, and `id`."""


def prompts_of(ids: np.ndarray) -> np.ndarray:
    """The prompt of each picture by the pictures' ids, str (n,)."""
    return np.array([str(name).rpartition("/")[0] for name in ids])


class PromptMean:
    """Mean of a column over pictures, with a bootstrap over prompts.

    Args:
        column: The column.
        extractor: The extractor that writes it.
        higher_is_better: Direction.
        label: How it is printed; under the column's name where None.
        weight: Column of how much each cell is a sum of, where the figure is a ratio of sums.
        scale: What the mean is multiplied by, 100 for percentages.
    """

    def __init__(
        self,
        column: str,
        extractor: str,
        *,
        higher_is_better: bool = True,
        label: Label | None = None,
        weight: str = "",
        scale: float = 1.0,
    ) -> None:
        self.column = column
        self.needs: tuple[str, ...] = (extractor,)
        self.higher_is_better: bool | None = higher_is_better
        self.label = label or Label(column)
        self._weight = weight
        self._scale = scale

    def counts(self, samples: Samples) -> NDArray[np.bool_]:
        """Which pictures the figure is about, bool (n,): all of them here."""
        return np.ones(len(samples["id"]), bool)

    def why_none(self, samples: Samples) -> str:
        """Why no picture counts, where none does."""
        del samples
        return "no picture was observed"

    def note(self, samples: Samples) -> str:
        """What to say beside the figure."""
        del samples
        return ""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean with its interval."""
        del settings
        samples = columns_of(observations)
        own = self.counts(samples)
        if not own.any():
            raise Unavailable(self.why_none(samples))
        sums, weights = self._sums(samples)
        sums, weights = sums[own], weights[own]
        if unknown := int(np.isnan(sums).sum()):
            raise Unavailable(f"not a number for {unknown} of {len(sums)} pictures")
        means = stats.clustered_means(
            sums, prompts_of(samples["id"][own]), observations.seed, weights=weights
        )
        value = self._scale * float(sums.sum() / weights.sum())
        interval = stats.percentiles(self._scale * means, "bootstrap over prompts")
        return interval.around(value, int(own.sum()), self.note(samples))

    def of_samples(
        self, samples: Samples, settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pictures' own figures, NaN where they do not count, and their weights."""
        del settings
        sums, weights = self._sums(samples)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = self._scale * sums / weights
        return np.where(self.counts(samples), values, np.nan), weights

    def clusters_of(self, samples: Samples) -> np.ndarray:
        """The prompt of each picture: its pictures are not independent."""
        return prompts_of(samples["id"])

    def _sums(self, samples: Samples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sums = np.asarray(samples[self.column], np.float64)
        if not self._weight:
            return sums, np.ones(len(sums))
        return sums, np.asarray(samples[self._weight], np.float64)


def columns_of(observations: Observations) -> dict[str, np.ndarray]:
    """What was observed, as `SampleMetric.of_samples` gets it; raise `Unavailable` if nothing."""
    rows = observations.samples
    if len(rows) == 0:
        raise Unavailable("no picture was observed")
    return {str(name): rows[name].to_numpy() for name in rows}
