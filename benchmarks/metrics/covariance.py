"""Covariance of streamed features beside torchmetrics' FrechetInceptionDistance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.image.fid import FrechetInceptionDistance

from benchmarks.metrics.memory import MemoryComparison
from benchmarks.metrics.rounds import Claim, Comparison
from benchmarks.metrics.sizes import Sizes
from harness.metrics.feature_statistics import BlockAccumulator

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


def streaming(sizes: Sizes, device: str) -> list[Comparison | MemoryComparison]:
    """Batches of 64 to a covariance; the truth is that of the first rows in extended precision."""
    del device
    count, width = sizes.streamed, sizes.width
    few, many = count // 2, 2 * count
    features = np.concatenate(list(_batches(count, width)))

    def pieces() -> Iterator[Matrix]:
        return (features[start : start + BATCH] for start in range(0, count, BATCH))

    return [
        Comparison(
            unit="1,000 features",
            items=count / 1000,
            variants={
                "ours": lambda: [_accumulated(pieces(), width)],
                "torchmetrics": lambda: [_updated(pieces(), width)],
            },
            claims=[Claim(f"covariance, batches of {BATCH}", "ours", "torchmetrics", 4)],
            truth=lambda: [_exact_rows(features)],
        ),
        MemoryComparison(f"covariance of {few:,} features", stream, stream_peer, (few, width)),
        MemoryComparison(
            f"covariance of {many:,} features, beyond that",
            stream,
            stream_peer,
            (many, width),
            less=(few, width),
            goal=5,
        ),
    ]


def stream(count: int, width: int) -> Callable[[], Any]:
    """Accumulate features that are made as they come."""
    return lambda: _accumulated(_batches(count, width), width)


def stream_peer(count: int, width: int) -> Callable[[], Any]:
    """The same with torchmetrics."""
    return lambda: _updated(_batches(count, width), width)


def _batches(count: int, width: int) -> Iterator[Matrix]:
    """Features like those after a ReLU and an average: at least 0, many of them small."""
    draws = np.random.default_rng(0)
    for start in range(0, count, BATCH):
        rows = min(BATCH, count - start)
        yield np.square(draws.standard_normal((rows, width), dtype=np.float32))


def _accumulated(batches: Iterator[Matrix], width: int) -> NDArray[np.float64]:
    accumulator, seen = BlockAccumulator(width), 0
    for batch in batches:
        accumulator.add(np.arange(seen, seen + len(batch)), batch)
        seen += len(batch)
    return accumulator.sums().statistics().covariance


def _updated(batches: Iterator[Matrix], width: int) -> NDArray[np.float64]:
    metric = FrechetInceptionDistance(feature=Given(width))
    for batch in batches:
        metric.update(torch.from_numpy(batch), real=True)
    # The metric forms the covariance inside `compute`, with the distance.
    count = metric.real_features_num_samples
    mean = (metric.real_features_sum / count).unsqueeze(0)
    centred = metric.real_features_cov_sum - count * mean.t().mm(mean)
    return (centred / (count - 1)).numpy()


def _exact_rows(features: Matrix) -> NDArray[np.longdouble]:
    rows = features.astype(np.longdouble)
    rows -= rows.mean(axis=0)
    return rows[:, :_TRUTH_ROWS].T @ rows / (len(rows) - 1)
