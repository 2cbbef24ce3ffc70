"""Inception Score beside torch-fidelity."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_isc import isc_features_to_metric

from benchmarks.metrics.rounds import Claim, Comparison, Outputs
from benchmarks.metrics.sizes import Sizes
from harness.metrics import inception_score
from harness.metrics.inception_network import LOGITS


def splits(sizes: Sizes, device: str) -> list[Comparison]:
    """Ten shuffled splits of 1008 logits; the truth is the definition in extended precision."""
    del device
    draws = np.random.default_rng(0)
    logits = 2 * draws.standard_normal((sizes.logits, LOGITS), dtype=np.float32)
    tensor = torch.from_numpy(logits)

    def by_torch_fidelity() -> Outputs:
        score = isc_features_to_metric(tensor)
        return [np.array([score["inception_score_mean"]])]

    return [
        Comparison(
            unit="1,000 rows",
            items=sizes.logits / 1000,
            variants={
                "ours": lambda: [
                    np.array([inception_score.inception_score(logits, "torch-fidelity").mean])
                ],
                "torch-fidelity": by_torch_fidelity,
            },
            claims=[Claim("Inception Score", "ours", "torch-fidelity", 4)],
            truth=lambda: [_exact(logits)],
        )
    ]


def _exact(logits: NDArray[np.float32]) -> NDArray[Any]:
    scores = []
    for rows in inception_score.split_rows(len(logits), "torch-fidelity"):
        weights = np.exp(logits[rows].astype(np.longdouble))
        shares = weights / weights.sum(axis=1, keepdims=True)
        divergence = np.sum(shares * np.log(shares / shares.mean(axis=0)), axis=1)
        scores.append(np.exp(divergence.mean()))
    return np.array([np.mean(scores)])
