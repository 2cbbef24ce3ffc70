"""Precision and recall beside torch-fidelity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_prc import (
    calculate_precision_recall_full,
    calculate_precision_recall_part,
)

from benchmarks.metrics.memory import MemoryComparison
from benchmarks.metrics.rounds import Claim, Comparison
from benchmarks.metrics.sizes import FULL, Sizes
from harness.metrics import prdc

Matrix = NDArray[np.float32]

_SLOW_ROUNDS = 3
_PART, _WHOLE = "torch-fidelity, part", "torch-fidelity, full"


def precision_recall(sizes: Sizes, device: str) -> list[Comparison | MemoryComparison]:
    """Three neighbours, 2048-d features; the truth is torch-fidelity's in float64.

    torch-fidelity's `full` mode keeps whole distance matrices, 10 GB for 50,000 samples and more
    for its copies, so that only `part` is measured at the full size.
    """
    del device
    references, samples = _sets(sizes.references, sizes.samples, sizes.width)
    tensors = torch.from_numpy(samples), torch.from_numpy(references)
    label = f"precision and recall, {sizes.references:,} x {sizes.samples:,}"
    whole = sizes.samples < FULL.samples

    variants = {
        "ours": lambda: _counts(_own(references, samples), sizes),
        _PART: lambda: _counts(calculate_precision_recall_part(*tensors), sizes),
    }
    claims = [Claim(label, "ours", _PART, None if whole else 2.5)]
    if whole:
        variants[_WHOLE] = lambda: _counts(calculate_precision_recall_full(*tensors), sizes)
        claims.append(Claim(label, "ours", _WHOLE))
    return [
        Comparison(
            unit="call",
            items=1,
            variants=variants,
            claims=claims,
            truth=(lambda: _counts(_exact(*tensors), sizes)) if whole else None,
            most_rounds=_SLOW_ROUNDS if whole else 1,
        ),
        MemoryComparison(
            label, own_work, peer_work, (sizes.references, sizes.samples, sizes.width), goal=200
        ),
    ]


def own_work(references: int, samples: int, width: int) -> Callable[[], Any]:
    """Make the features and return our computation."""
    sets = _sets(references, samples, width)
    return lambda: _own(*sets)


def peer_work(references: int, samples: int, width: int) -> Callable[[], Any]:
    """The same for torch-fidelity in the mode that saves memory."""
    first, second = (torch.from_numpy(x) for x in _sets(references, samples, width))
    return lambda: calculate_precision_recall_part(second, first)


def _own(references: Matrix, samples: Matrix) -> tuple[float, float]:
    result = prdc.precision_recall(references, samples)
    return result.precision, result.recall


def _exact(samples: torch.Tensor, references: torch.Tensor) -> tuple[float, float]:
    return calculate_precision_recall_full(samples.double(), references.double())


def _counts(shares: tuple[float, float], sizes: Sizes) -> list[NDArray[np.float64]]:
    """Samples and references inside, for torch-fidelity's shares are rounded to float32."""
    precision, recall = shares
    return [np.round([precision * sizes.samples, recall * sizes.references])]


def _sets(references: int, samples: int, width: int) -> tuple[Matrix, Matrix]:
    """Two sets in a space of few dimensions, so that balls overlap in part."""
    draws = np.random.default_rng(0)
    rank = max(2, width // 64)
    basis = draws.standard_normal((rank, width), dtype=np.float32)
    first, second = (
        draws.standard_normal((count, rank), dtype=np.float32) for count in (references, samples)
    )
    return first @ basis, (second * np.float32(0.95)) @ basis
