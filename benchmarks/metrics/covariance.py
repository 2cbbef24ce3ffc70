"""Covariance of features beside torchmetrics' FrechetInceptionDistance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.image.fid import FrechetInceptionDistance

from benchmarks.metrics.rounds import Claim, Comparison
from benchmarks.metrics.sizes import Sizes
from harness.metrics.features import FeatureSums

Matrix = NDArray[np.float32]

BATCH = 64
_TRUTH_ROWS = 16


class Given(torch.nn.Module):
    """Features that are given as they are, in place of a network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the argument."""
        return features


def of_features(sizes: Sizes, device: str) -> list[Comparison]:
    """The peer takes batches of 64; the truth is that of the first rows in extended precision."""
    del device
    count, width = sizes.streamed, sizes.width
    features = np.concatenate(list(_batches(count, width)))
    return [
        Comparison(
            unit="1,000 features",
            items=count / 1000,
            variants={
                "ours": lambda: [FeatureSums.from_features(features).statistics().covariance],
                "torchmetrics": lambda: [_updated(features)],
            },
            claims=[Claim("covariance", "ours", "torchmetrics", 4)],
            truth=lambda: [_exact_rows(features)],
        )
    ]


def _batches(count: int, width: int) -> Iterator[Matrix]:
    """Features like those after a ReLU and an average: at least 0, many of them small."""
    draws = np.random.default_rng(0)
    for start in range(0, count, BATCH):
        rows = min(BATCH, count - start)
        yield np.square(draws.standard_normal((rows, width), dtype=np.float32))


def _updated(features: Matrix) -> NDArray[np.float64]:
    metric = FrechetInceptionDistance(feature=Given(features.shape[1]))
    for start in range(0, len(features), BATCH):
        metric.update(torch.from_numpy(features[start : start + BATCH]), real=True)
    # The metric forms the covariance inside `compute`, with the distance.
    count = metric.real_features_num_samples
    mean = (metric.real_features_sum / count).unsqueeze(0)
    centred = metric.real_features_cov_sum - count * mean.t().mm(mean)
    return (centred / (count - 1)).numpy()


def _exact_rows(features: Matrix) -> NDArray[np.longdouble]:
    rows = features.astype(np.longdouble)
    rows -= rows.mean(axis=0)
    return rows[:, :_TRUTH_ROWS].T @ rows / (len(rows) - 1)
