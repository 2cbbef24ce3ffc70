"""Squared distances between feature sets, tile by tile, in float32 or as ADM's float16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

Precision = Literal["float32", "adm-fp16"]
Matrix = NDArray[np.float32]

# Small enough for two buffers and a caller's copies to stay below 20 MB, and to skip most of the
# lower triangle; large enough for full speed of the matrix product.
_TILE = 1000
# ADM falls back from float16 to float32 for blocks of this many rows and columns at a time.
_ADM_BLOCK = 10_000


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
