"""Every row of the tables by name."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Sequence

from benchmarks.metrics import (
    compiled,
    covariance,
    frechet,
    inception_score,
    manifolds,
    networks,
    pixels,
    suite,
    today,
)
from benchmarks.metrics.memory import MemoryComparison, MemoryLine
from benchmarks.metrics.rounds import Comparison, Line, measure
from benchmarks.metrics.sizes import Sizes

Builder = Callable[[Sizes, str], Sequence[Comparison | MemoryComparison]]

ROWS: dict[str, Builder] = {
    "inception": networks.inception,
    "frechet": frechet.from_statistics,
    "frechet-features": frechet.from_features,
    "covariance": covariance.of_features,
    "ssim": pixels.ssim,
    "psnr": pixels.psnr,
    "precision-recall": manifolds.precision_recall,
    "inception-score": inception_score.splits,
    "lpips": networks.lpips_candidates,
    "ms-ssim": today.multi_scale,
    "dists": today.dists,
    "clip": today.clip,
    "cmmd": today.cmmd,
    "suite": suite.reconstruction,
    "compile": compiled.whole_set,
}
BY_REQUEST = ("compile",)
"""Rows that run only where they are named."""


def measure_rows(
    names: Iterable[str], sizes: Sizes, device: str, rounds: int
) -> tuple[list[Line], list[MemoryLine]]:
    """Measure rows one after the other; each one's inputs are dropped before the next."""
    times: list[Line] = []
    memories: list[MemoryLine] = []
    for name in names:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        for comparison in ROWS[name](sizes, device):
            if isinstance(comparison, MemoryComparison):
                memories.append(comparison.measure())
            else:
                times += measure(comparison, rounds, device)
        gc.collect()
    return times, memories
