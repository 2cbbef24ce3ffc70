"""What each sample contributes to a metric, where the metric is a mean over samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import ClusteredMetric, SampleMetric
from harness.interfaces.registry import METRICS
from harness.metrics.scores import SampleMean
from harness.metrics.stats import averaging_weights
from reports.samples import Columns

Floats = NDArray[np.float64]


def values_of(
    metric: str, samples: Columns, settings: Mapping[str, Any]
) -> tuple[Floats, Floats] | None:
    """A metric's values and weights (n,), NaN where a sample does not count; None for whole sets.

    A metric that is not installed is taken for the mean of the column of its own name.

    Args:
        metric: Its name in the record.
        samples: Observed columns of n samples that finished.
        settings: The protocol's.
    """
    averaging = settings.get("averaging", {})
    plugin = METRICS.get(metric) if metric in METRICS else None
    if isinstance(plugin, SampleMetric):
        try:
            return plugin.of_samples(samples, settings)
        except KeyError:  # A column that this run did not observe.
            return None
    own = plugin is None or (isinstance(plugin, SampleMean) and plugin.column == metric)
    if not own or metric not in samples or samples[metric].dtype == object:
        return None
    if metric == "psnr" and averaging.get("rule") == "global-mse":
        return None
    return samples[metric], averaging_weights(len(samples[metric]), averaging)


def clusters_of(metrics: Iterable[str], samples: Columns) -> NDArray[np.int64] | None:
    """The cluster of each sample, where a metric says that samples hang together."""
    for metric in metrics:
        plugin = METRICS.get(metric) if metric in METRICS else None
        if isinstance(plugin, ClusteredMetric):
            names = plugin.clusters_of(samples).astype(str)
            return np.unique(names, return_inverse=True)[1].astype(np.int64)
    return None
