"""Mean and covariance of features, accumulated so that batches and processes do not matter."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from harness.metrics.checks import Rows, check_rows

BLOCK = 2048


@dataclass(frozen=True)
class FeatureStatistics:
    """What the Fréchet distance reads of a set of feature vectors."""

    mean: NDArray[np.float64]
    """(d,)."""
    covariance: NDArray[np.float64]
    """(d, d), divided by count - 1."""
    count: int | None
    """Number of samples; None where a reference file does not say."""

    def __post_init__(self) -> None:
        width = self.mean.shape[0] if self.mean.ndim == 1 else -1
        if self.covariance.shape != (width, width):
            raise ValueError(
                f"mean has shape {self.mean.shape} and covariance {self.covariance.shape}; "
                "give (d,) and (d, d)"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError("mean or covariance is not finite; compute the statistics again")


@dataclass(frozen=True)
class FeatureSums:
    """Sums over feature vectors in float64; sums of disjoint sets add."""

    count: int
    total: NDArray[np.float64]
    """(d,), the sum of x."""
    outer: NDArray[np.float64]
    """(d, d), the sum of x xᵀ."""

    @classmethod
    def from_features(
        cls, features: Rows, multiplicities: NDArray[np.integer[Any]] | None = None
    ) -> FeatureSums:
        """Sum features, each as often as it was drawn in a resample.

        Args:
            features: float32 or float64 (N, d).
            multiplicities: integers (N,), how often each row counts; once by default.

        Returns:
            the sums; `count` is the sum of the multiplicities.

        Raises:
            ValueError: bad features (see `check_rows`) or multiplicities of another length.
        """
        check_rows(features, "features")
        running = _RunningSums(features.shape[1])
        if multiplicities is not None and (
            multiplicities.shape != (len(features),) or multiplicities.min() < 0
        ):
            raise ValueError(
                f"multiplicities have shape {multiplicities.shape} for {len(features)} rows; give "
                "one count of 0 or more for each row"
            )
        for start in range(0, len(features), BLOCK):
            stop = start + BLOCK
            running.add(
                features[start:stop],
                None if multiplicities is None else multiplicities[start:stop],
            )
        return running.sums()

    def __add__(self, other: FeatureSums) -> FeatureSums:
        return FeatureSums(
            self.count + other.count, self.total + other.total, self.outer + other.outer
        )

    def statistics(self) -> FeatureStatistics:
        """Turn the sums into mean and covariance.

        Raises:
            ValueError: fewer than two samples, which have no covariance.
        """
        if self.count < 2:
            raise ValueError(f"{self.count} samples have no covariance; at least 2 are needed")
        mean = self.total / self.count
        centred = self.outer - self.count * np.outer(mean, mean)
        return FeatureStatistics(mean, centred / (self.count - 1), self.count)


class BlockAccumulator:
    """Feature sums whose bits do not depend on how the samples arrive.

    Rows are kept until the block of 2,048 consecutive sample indices they belong to is full and all
    earlier blocks are done; then the block is added. One process that sees the samples in order
    holds one block at a time; a process that sees a part of them (strided or contiguous) holds its
    rows until it is merged with the others. The result has the same bits for any batch size, number
    of processes and order, given one BLAS library and thread count.
    """

    def __init__(self, width: int) -> None:
        """Start empty.

        Args:
            width: length of a feature vector.
        """
        self.width = width
        self._running = _RunningSums(width)
        self._complete = 0
        self._pending: dict[int, _Block] = {}

    def add(self, indices: NDArray[np.integer[Any]], features: Rows) -> None:
        """Add the features of some samples.

        Args:
            indices: integers (N,), each sample's place in the whole set, from 0.
            features: float32 (N, width).

        Raises:
            ValueError: bad features (see `check_rows`), another width or dtype, indices of another
                length or below 0, or an index that was added before.
        """
        check_rows(features, "features")
        if features.dtype != np.float32 or features.shape[1] != self.width:
            raise ValueError(
                f"features are {features.dtype} with {features.shape[1]} columns; this accumulator "
                f"takes float32 with {self.width}"
            )
        if indices.shape != (len(features),) or indices.min() < 0:
            raise ValueError(
                f"indices have shape {indices.shape} for {len(features)} rows; give one >= 0 each"
            )
        numbers = indices // BLOCK
        for number in np.unique(numbers).tolist():
            chosen = numbers == number
            self._fill(number, indices[chosen] - number * BLOCK, features[chosen])
        self._flush()

    def merge(self, other: BlockAccumulator) -> None:
        """Take over the samples of another accumulator, which must not be used afterwards.

        Raises:
            ValueError: the widths differ, or both hold the same sample.
        """
        if other.width != self.width:
            raise ValueError(f"widths {self.width} and {other.width} differ; merge like with like")
        if other._complete:
            if self._complete:
                raise ValueError("both accumulators hold sample 0; give each sample to one of them")
            self._running, self._complete = other._running, other._complete
        pending, self._pending = self._pending, {}
        for blocks in (pending, other._pending):
            for number, block in blocks.items():
                places = np.flatnonzero(block.filled)
                self._fill(number, places, block.rows[places])
        self._flush()

    def sums(self) -> FeatureSums:
        """Sum all samples added so far, which must be those from 0 to the last one.

        Raises:
            ValueError: no samples, or one is missing.
        """
        last = max(self._pending, default=self._complete - 1)
        running = self._running.copy()
        for number in range(self._complete, last + 1):
            block = self._pending.get(number)
            filled = 0 if block is None else int(np.argmin(np.append(block.filled, False)))
            if block is None or block.filled[filled:].any() or (number < last and filled < BLOCK):
                raise ValueError(
                    f"sample {number * BLOCK + filled} is missing; add it or number the samples "
                    "without gaps"
                )
            running.add(block.rows[:filled])
        if running.count == 0:
            raise ValueError("no samples were added; the set is empty")
        return running.sums()

    def _fill(self, number: int, places: NDArray[np.integer[Any]], rows: Rows) -> None:
        if number < self._complete:
            raise ValueError(f"sample {number * BLOCK + int(places[0])} was added twice; drop one")
        if number not in self._pending:
            self._pending[number] = _Block(self.width)
        block = self._pending[number]
        times = np.bincount(places, minlength=BLOCK) + block.filled
        if times.max() > 1:
            sample = number * BLOCK + int(times.argmax())
            raise ValueError(f"sample {sample} was added twice; drop one")
        block.rows[places] = rows
        block.filled[places] = True

    def _flush(self) -> None:
        while self._complete in self._pending and self._pending[self._complete].filled.all():
            self._running.add(self._pending.pop(self._complete).rows)
            self._complete += 1


def save_statistics(
    path: str | os.PathLike[str],
    pool: FeatureStatistics,
    spatial: FeatureStatistics | None = None,
) -> None:
    """Write statistics as an npz file under the names of the ADM references.

    Args:
        path: the file to write, ending in ``.npz``.
        pool: written as ``mu``, ``sigma`` and ``n``.
        spatial: written as ``mu_s`` and ``sigma_s``; its count is that of `pool`.
    """
    arrays: dict[str, NDArray[Any]] = {"mu": pool.mean, "sigma": pool.covariance}
    if pool.count is not None:
        arrays["n"] = np.array(pool.count)
    if spatial is not None:
        arrays |= {"mu_s": spatial.mean, "sigma_s": spatial.covariance}
    with Path(path).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub gives the names a meaning


def load_statistics(
    path: str | os.PathLike[str],
) -> tuple[FeatureStatistics, FeatureStatistics | None]:
    """Read statistics from an npz file, such as ``VIRTUAL_imagenet256_labeled.npz`` of ADM.

    Args:
        path: a file with ``mu`` and ``sigma``, and perhaps ``n``, ``mu_s`` and ``sigma_s``.

    Returns:
        the statistics of the pooled and of the spatial features (None if there are none), float64.

    Raises:
        ValueError: ``mu`` or ``sigma`` is missing, or the shapes do not fit.
    """
    with np.load(path, allow_pickle=False) as arrays:
        names = set(arrays.files)
        if not {"mu", "sigma"} <= names:
            raise ValueError(
                f"{path} holds {sorted(names)}, not 'mu' and 'sigma'; give an npz with feature "
                "statistics"
            )
        count = int(arrays["n"]) if "n" in names else None
        pool, spatial = (
            FeatureStatistics(arrays[mu].astype(float), arrays[sigma].astype(float), count)
            if {mu, sigma} <= names
            else None
            for mu, sigma in (("mu", "sigma"), ("mu_s", "sigma_s"))
        )
    assert pool is not None
    return pool, spatial


class _Block:
    """Up to 2,048 rows and which of them are there."""

    def __init__(self, width: int) -> None:
        self.rows = np.empty((BLOCK, width), dtype=np.float32)
        self.filled = np.zeros(BLOCK, dtype=bool)


class _RunningSums:
    """Sums updated in place; of the symmetric one only the lower triangle."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.total = np.zeros(width)
        self.lower = np.zeros((width, width), order="F")

    def add(self, features: Rows, multiplicities: NDArray[np.integer[Any]] | None = None) -> None:
        rows = features.astype(np.float64)
        if multiplicities is None:
            self.count += len(rows)
            self.total += rows.sum(axis=0)
        else:
            self.count += int(multiplicities.sum())
            self.total += multiplicities @ rows
            rows *= np.sqrt(multiplicities)[:, None]
        # dsyrk does half the work of a matrix product.
        self.lower = blas.dsyrk(1.0, rows.T, beta=1.0, c=self.lower, lower=1, overwrite_c=1)

    def copy(self) -> _RunningSums:
        twin = _RunningSums(len(self.total))
        twin.count = self.count
        twin.total = self.total.copy()
        twin.lower = self.lower.copy(order="F")
        return twin

    def sums(self) -> FeatureSums:
        # Nothing but zeros stands above the diagonal.
        outer = self.lower + self.lower.T
        np.fill_diagonal(outer, self.lower.diagonal())
        return FeatureSums(self.count, self.total.copy(), outer)
