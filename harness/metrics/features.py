"""Sets of network features: as rows, as mean and covariance, and references kept beside a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.digests import Damaged, read_arrays
from harness.interfaces.errors import Unavailable, counted
from harness.metrics.checks import Rows, check_rows
from harness.metrics.unlocked import add_outer_products, cholesky

FEW = "fewer images than the protocol asks"
_BLOCK = 2048
"""Rows that are summed at a time; fixed, for it decides the last bits of a covariance."""


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
    """Sums over feature vectors in float64: those of a part can be taken from those of the whole.

    In float32 the covariance of 50,000 rows, a difference of two sums, would keep three digits.
    """

    count: int
    total: NDArray[np.float64]
    """(d,), the sum of x."""
    outer: NDArray[np.float64]
    """(d, d), the sum of x xᵀ."""

    @classmethod
    def from_features(cls, features: Rows) -> FeatureSums:
        """Sum features, float32 or float64 (N, d); raise `ValueError` for bad ones."""
        check_rows(features, "features")
        width = features.shape[1]
        total, lower = np.zeros(width), np.zeros((width, width), order="F")
        for start in range(0, len(features), _BLOCK):
            rows = features[start : start + _BLOCK].astype(np.float64)
            total += rows.sum(axis=0)
            # One triangle is half the work of a matrix product.
            add_outer_products(lower, rows)
        outer = lower + lower.T
        np.fill_diagonal(outer, lower.diagonal())
        return cls(len(features), total, outer)

    @classmethod
    def of_part(cls, features: Rows) -> FeatureSums:
        """Sums of a part that is to be taken from the whole, such as a jackknife's group.

        By numpy's product, whose last bits are not those of sums of the whole set: intervals that
        were published have them.
        """
        width = features.shape[1]
        total, outer = np.zeros(width), np.zeros((width, width))
        for start in range(0, len(features), _BLOCK):
            rows = features[start : start + _BLOCK].astype(np.float64)
            total += rows.sum(axis=0)
            outer += rows.T @ rows
        return cls(len(features), total, outer)

    def __sub__(self, part: FeatureSums) -> FeatureSums:
        return FeatureSums(
            self.count - part.count, self.total - part.total, self.outer - part.outer
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


def load_statistics(path: str | os.PathLike[str]) -> dict[str, FeatureStatistics]:
    """Read statistics from an npz file, such as ``VIRTUAL_imagenet256_labeled.npz`` of ADM.

    Args:
        path: a file with ``mu`` and ``sigma``, and perhaps ``n``, ``mu_s`` and ``sigma_s``.

    Returns:
        float64 statistics of ``pool3``, and of ``spatial`` where there are any.

    Raises:
        ValueError: ``mu`` or ``sigma`` is missing, the shapes do not fit, or a covariance is none.
    """
    with np.load(path, allow_pickle=False) as arrays:
        names = set(arrays.files)
        if not {"mu", "sigma"} <= names:
            raise ValueError(
                f"{path} holds {sorted(names)}, not 'mu' and 'sigma'; give an npz with feature "
                "statistics"
            )
        count = int(arrays["n"]) if "n" in names else None
        known = {
            output: FeatureStatistics(arrays[mu].astype(float), arrays[sigma].astype(float), count)
            for output, mu, sigma in (("pool3", "mu", "sigma"), ("spatial", "mu_s", "sigma_s"))
            if {mu, sigma} <= names
        }
    for output, statistics in known.items():
        _check_covariance(statistics.covariance, f"{path}: the covariance of {output}")
    return known


def _check_covariance(covariance: NDArray[np.float64], name: str) -> None:
    """Check that a matrix from outside can be a covariance, up to rounding in single precision.

    Raises:
        ValueError: not symmetric, or with an eigenvalue that is negative.
    """
    largest = float(np.abs(covariance).max())
    if not np.allclose(covariance, covariance.T, rtol=0, atol=1e-4 * largest):
        raise ValueError(f"{name} is not symmetric; compute the statistics again")
    # A Cholesky factor exists where no eigenvalue is below the shift, at a tenth of their cost.
    shift = 1e-3 * max(largest, np.finfo(float).tiny)
    if cholesky(covariance + shift * np.eye(len(covariance))) is None:
        raise ValueError(f"{name} has negative eigenvalues; compute the statistics again")


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """One side of a comparison: features, or for a stored reference their statistics alone.

    Raises:
        ValueError: both or none given, or features that are no float32 matrix.
    """

    features: NDArray[np.float32] | None = None
    """(N, d)."""
    statistics: FeatureStatistics | None = None

    def __post_init__(self) -> None:
        if (self.features is None) == (self.statistics is None):
            raise ValueError("give a set's features or its statistics, one of the two")
        if self.features is not None and (
            self.features.ndim != 2 or self.features.dtype != np.float32
        ):
            raise ValueError(
                f"features are {self.features.dtype} {self.features.shape}; give a float32 matrix "
                "(samples, dim)"
            )

    @property
    def n(self) -> int | None:
        """Number of samples; None for statistics that do not say."""
        return self.statistics.count if self.statistics is not None else len(self.rows)

    @property
    def rows(self) -> NDArray[np.float32]:
        """The features; raise `Unavailable` where only statistics are known."""
        if self.features is None:
            raise Unavailable("the set is known by statistics, not by features", "not applicable")
        return self.features

    @property
    def width(self) -> int:
        """Columns of the features."""
        return len(self.statistics.mean) if self.statistics is not None else self.rows.shape[1]


def note_on_size(n: int, least: int, small_sets: bool) -> str:
    """What to note on a set's size; raise `Unavailable` where it is too small."""
    if n < 2:
        raise Unavailable(f"no spread of {counted(n, 'image')}; at least 2 are needed", "withheld")
    if n < least and not small_sets:
        raise Unavailable(
            f"{n} images are fewer than {least} (--small-sets gives it all the same)",
            kind="withheld",
        )
    return FEW if n < least else ""


@dataclass(frozen=True)
class ReferenceFeatures:
    """Features of a reference's images, and statistics where it stores them."""

    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """(n, d) by output."""
    statistics: Mapping[str, FeatureStatistics] = field(default_factory=dict)
    """By output; they take the place of the images' own in Fréchet distances."""

    def distribution(self, output: str) -> FeatureSet:
        """The side of a Fréchet distance; raise `Unavailable` where the reference has none."""
        if output in self.statistics:
            return FeatureSet(statistics=self.statistics[output])
        return FeatureSet(self.rows(output))

    def rows(self, output: str) -> NDArray[np.float32]:
        """The images' features; raise `Unavailable` where the reference holds no images."""
        if output not in self.features:
            raise Unavailable("the reference holds statistics and no images")
        return self.features[output]

    def write(self, path: Path) -> None:
        """Write an uncompressed `.npz`."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for output, rows in self.features.items():
            arrays[f"{output}.features"] = rows
        for output, known in self.statistics.items():
            arrays[f"{output}.mean"] = known.mean
            arrays[f"{output}.covariance"] = known.covariance
            if known.count is not None:
                arrays[f"{output}.count"] = np.array(known.count)
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @staticmethod
    def outputs_in(path: Path) -> set[str]:
        """The outputs that a file has features or statistics of; none where it is not whole."""
        try:
            return {name.rpartition(".")[0] for name in read_arrays(path)}
        except (Damaged, FileNotFoundError):
            return set()

    @classmethod
    def read(cls, path: Path) -> ReferenceFeatures:
        """Read what `write` wrote; raise `Damaged` where it is not that."""
        features, statistics = {}, {}
        arrays = read_arrays(path)
        for name, array in arrays.items():
            output, _, kind = name.rpartition(".")
            if kind == "features":
                features[output] = array
            elif kind == "mean":
                count = arrays.get(f"{output}.count")
                statistics[output] = FeatureStatistics(
                    array, arrays[f"{output}.covariance"], None if count is None else int(count)
                )
        return cls(features, statistics)
