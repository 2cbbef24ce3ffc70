"""Precision, recall, density and coverage of feature sets from k-nearest-neighbour balls.

Their intervals are made here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from harness.interfaces.errors import Unavailable, counted
from harness.interfaces.types import MetricValue
from harness.metrics import stats
from harness.metrics.checks import Rows, check_rows, check_same_width

Precision = Literal["float32", "adm-fp16"]
Matrix = NDArray[np.float32]

# Small enough for two buffers and a caller's copies to stay below 20 MB, and to skip most of the
# lower triangle; large enough for full speed of the matrix product.
_TILE = 1000
# ADM falls back from float16 to float32 for blocks of this many rows and columns at a time.
_ADM_BLOCK = 10_000


@dataclass(frozen=True)
class PrecisionRecall:
    """Which samples lie inside whose balls; the arrays serve resampling."""

    sample_inside: NDArray[np.bool_]
    """(M,), the sample lies in the ball of some reference."""
    reference_inside: NDArray[np.bool_]
    """(N,), the reference lies in the ball of some sample."""
    sample_density: NDArray[np.int64]
    """(M,), how many reference balls the sample lies in."""
    reference_covered: NDArray[np.bool_]
    """(N,), some sample lies in the reference's ball."""
    k: int

    @property
    def precision(self) -> float:
        """Share of samples inside the reference manifold (Kynkäänniemi et al. 2019)."""
        return float(self.sample_inside.mean())

    @property
    def recall(self) -> float:
        """Share of references inside the sample manifold."""
        return float(self.reference_inside.mean())

    @property
    def density(self) -> float:
        """Reference balls per sample over k (Naeem et al. 2020); may exceed 1."""
        return float(self.sample_density.mean() / self.k)

    @property
    def coverage(self) -> float:
        """Share of reference balls that hold a sample."""
        return float(self.reference_covered.mean())


def precision_recall(
    reference: Rows, samples: Rows, k: int = 3, precision: Precision = "float32"
) -> PrecisionRecall:
    """Precision, recall, density and coverage.

    A ball reaches to the k-th nearest other member of its own set (the (k+1)-th smallest distance,
    itself included) and holds what is at most that far: "at most", because a copy of a reference
    whose k nearest neighbours are copies too lies in a ball of radius 0. Distances are squared,
    |u|² - 2u·v + |v|², clamped at 0, for rounding makes those of near copies negative.

    Args:
        reference: float32 or float64 (N, d), N above k; worked on in float32.
        samples: float32 or float64 (M, d), M above k.
        k: neighbours that set a ball's radius; 3 in ADM and torch-fidelity.
        precision: ``float32``, or ``adm-fp16`` to emulate the float16 distances of ADM's
            ``evaluator.py``, which move both figures in the third decimal.

    Returns:
        the membership of every sample and reference, with the four figures as properties.

    Raises:
        ValueError: bad features (see `check_rows`), unequal widths, k below 1, or too few rows.
    """
    if k < 1:
        raise ValueError(f"k is {k}; give at least 1 neighbour")
    check_rows(reference, "reference", minimum=k + 1)
    check_rows(samples, "samples", minimum=k + 1)
    check_same_width(reference.shape[1], samples.shape[1], ("reference", "samples"))
    references = reference.astype(np.float32, copy=False)
    candidates = samples.astype(np.float32, copy=False)
    reference_radii = _squared_radii(references, k, precision)
    sample_radii = _squared_radii(candidates, k, precision)

    reference_inside = np.zeros(len(references), dtype=bool)
    reference_covered = np.zeros(len(references), dtype=bool)
    sample_density = np.zeros(len(candidates), dtype=np.int64)
    for rows, columns, distances in distance_tiles(references, candidates, precision):
        held = distances <= reference_radii[rows, None]
        sample_density[columns] += np.count_nonzero(held, axis=0)
        reference_covered[rows] |= held.any(axis=1)
        np.less_equal(distances, sample_radii[columns], out=held)
        reference_inside[rows] |= held.any(axis=1)
    return PrecisionRecall(
        sample_density > 0, reference_inside, sample_density, reference_covered, k
    )


def precision_recall_values(
    reference: Rows, samples: Rows, *, k: int = 3, precision: Precision = "float32", seed: int
) -> dict[str, MetricValue]:
    """Precision, recall, density and coverage, with bootstrap intervals.

    Intervals resample the rows that a figure averages over; the manifolds, which are made of the
    other rows, stay as they are, for a repeated row would shrink its own ball to a point.

    Args:
        reference: float32 (N, d).
        samples: float32 (M, d).
        k: neighbours that set a ball's radius.
        precision: arithmetic of the distances; see `precision_recall`.
        seed: seed of the bootstrap.

    Returns:
        cells named precision, recall, density and coverage.

    Raises:
        Unavailable: no more rows than k in one of the sets.
        ValueError: widths differ, or a row that is not finite (named).
    """
    n = min(len(reference), len(samples))
    if n <= k:
        raise Unavailable(f"no {k} neighbours each of {counted(n, 'image')}; {k + 1} are needed")
    inside = precision_recall(reference, samples, k, precision)
    figures = {
        "precision": (inside.precision, inside.sample_inside),
        "recall": (inside.recall, inside.reference_inside),
        "density": (inside.density, inside.sample_density / k),
        "coverage": (inside.coverage, inside.reference_covered),
    }
    cells = {}
    for name, (value, members) in figures.items():
        interval = stats.mean_interval(members.astype(np.float64), seed)
        interval = interval._replace(method=f"{interval.method}, manifolds held fixed")
        cells[name] = interval.around(value, len(members))
    return cells


def _squared_radii(features: Matrix, k: int, precision: Precision) -> Matrix:
    """Squared distance of each row to its k-th nearest other row."""
    nearest = np.full((len(features), k + 1), np.inf, dtype=np.float32)
    # Rounding to float16 makes distances asymmetric, so ADM's emulation needs both triangles.
    symmetric = precision == "float32"
    for rows, columns, distances in distance_tiles(features, features, precision, upper=symmetric):
        nearest[rows] = _smallest(nearest[rows], distances)
        if symmetric and rows != columns:
            nearest[columns] = _smallest(nearest[columns], distances.T)
    radii: Matrix = nearest.max(axis=1)
    return radii


def _smallest(known: Matrix, distances: Matrix) -> Matrix:
    """Keep the smallest values of each row among those known and those of a tile."""
    width = known.shape[1]
    values = torch.from_numpy(distances)
    tile = torch.topk(values, min(width, values.shape[1]), largest=False, sorted=False).values
    joined = torch.cat([torch.from_numpy(known), tile], dim=1)
    smallest: Matrix = torch.topk(joined, width, largest=False, sorted=False).values.numpy()
    return smallest


def distance_tiles(
    first: Matrix, second: Matrix, precision: Precision, upper: bool = False
) -> Iterator[tuple[slice, slice, Matrix]]:
    """Compute |u|² - 2u·v + |v|², clamped at 0, for all pairs of rows.

    Args:
        first: float32 (N, d).
        second: float32 (M, d).
        precision: ``float32``, or ``adm-fp16``: inputs, products and sums rounded to float16 (dot
            products accumulate in float32), except in blocks of 10,000 x 10,000 where something
            overflows, as in ``_batch_pairwise_distances`` of guided-diffusion's ``evaluator.py``.
        upper: leave out the tiles below the diagonal; for symmetric matrices.

    Yields:
        the rows of `first`, the rows of `second`, and the float32 distances between them in a
        buffer that the next tile overwrites. The float32 matrix of a set with itself is symmetric
        bit for bit where the BLAS library's products are.
    """
    norms_1, norms_2 = _squared_norms(first), _squared_norms(second)
    buffers = np.empty((2, _TILE * _TILE), dtype=np.float32)
    in_half: dict[tuple[int, int], bool] = {}
    for rows in _slices(0, len(first), _TILE):
        doubled = first[rows] * np.float32(-2)
        for columns in _slices(0, len(second), _TILE):
            if upper and columns.start < rows.start:
                continue
            if precision == "adm-fp16":
                block = rows.start // _ADM_BLOCK, columns.start // _ADM_BLOCK
                if block not in in_half:
                    in_half[block] = _fits_half(first, second, *block)
                if in_half[block]:
                    yield rows, columns, _half_distances(first[rows], second[columns])
                    continue
            shape = len(doubled), columns.stop - columns.start
            tile, norms = (buffer[: shape[0] * shape[1]].reshape(shape) for buffer in buffers)
            np.matmul(doubled, second[columns].T, out=tile)
            tile += np.add.outer(norms_1[rows], norms_2[columns], out=norms)
            yield rows, columns, np.maximum(tile, 0, out=tile)


def _slices(start: int, stop: int, step: int) -> list[slice]:
    return [slice(begin, min(begin + step, stop)) for begin in range(start, stop, step)]


def _squared_norms(features: Matrix) -> Matrix:
    norms: Matrix = np.einsum("nd,nd->n", features, features)
    return norms


def _fits_half(first: Matrix, second: Matrix, row_block: int, column_block: int) -> bool:
    """Say whether every distance of one of ADM's blocks is finite in float16."""
    starts = row_block * _ADM_BLOCK, column_block * _ADM_BLOCK
    u, v = (x[start : start + _ADM_BLOCK] for x, start in zip((first, second), starts, strict=True))
    limit = float(np.finfo(np.float16).max)
    # |2u·v| <= |u|² + |v|², so small norms rule an overflow out without computing the block.
    if float(_squared_norms(u).max() + _squared_norms(v).max()) < limit / 4:
        return True
    return all(
        bool(np.isfinite(_half_distances(u[rows], v[columns])).all())
        for rows in _slices(0, len(u), _TILE)
        for columns in _slices(0, len(v), _TILE)
    )


def _half_distances(u: Matrix, v: Matrix) -> Matrix:
    rounded_u, rounded_v = torch.from_numpy(u).half(), torch.from_numpy(v).half()
    norms_u, norms_v = (x.square().float().sum(dim=1).half() for x in (rounded_u, rounded_v))
    products = (rounded_u.float() @ rounded_v.float().T).half()
    tile = norms_u[:, None] - products.mul_(2) + norms_v
    distances: NDArray[Any] = tile.clamp_(min=0).float().numpy()
    return distances
