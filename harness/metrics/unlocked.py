"""BLAS and LAPACK while other threads go on.

scipy's own wrappers hold the interpreter's lock, so that threads take turns; the same routines of
the same library, called by their addresses, give the same bits and run side by side.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy import LowLevelCallable
from scipy.linalg import cython_blas, cython_lapack

Matrix = NDArray[np.float64]

_Number = ctypes.c_char | ctypes.c_double | ctypes.c_int64
_LOWER, _AS_IS = ctypes.c_char(b"L"), ctypes.c_char(b"N")
_ONE = ctypes.c_double(1.0)


def add_outer_products(lower: Matrix, rows: Matrix) -> None:
    """Add Σ x xᵀ over rows x to the lower triangle of a sum, in place (BLAS dsyrk).

    Args:
        lower: float64 (d, d) in Fortran's order; the upper triangle stays as it is.
        rows: float64 (N, d) in C's order.
    """
    width = len(lower)
    if not (lower.flags.f_contiguous and rows.flags.c_contiguous and rows.shape[1] == width):
        raise ValueError(f"rows {rows.shape} in C's order, a sum {lower.shape} in Fortran's")
    # To Fortran rows in C's order are columns.
    _call(
        cython_blas,
        "dsyrk",
        _LOWER,
        _AS_IS,
        width,
        len(rows),
        _ONE,
        rows,
        width,
        _ONE,
        lower,
        width,
    )


def cholesky(sigma: Matrix) -> Matrix | None:
    """The L of Σ = LLᵀ in a lower triangle, in Fortran's order (LAPACK dpotrf).

    Args:
        sigma: float64 (d, d), symmetric; the lower triangle is read.

    Returns:
        float64 (d, d), whose upper triangle means nothing; None where Σ is not positive definite.
    """
    factor, width, failed = np.array(sigma, order="F"), len(sigma), ctypes.c_int64(0)
    _call(cython_lapack, "dpotrf", _LOWER, width, factor, width, failed)
    return None if failed.value else factor


def congruent(sigma: Matrix, factor: Matrix) -> Matrix:
    """The lower triangle of LᵀΣL, in Fortran's order (LAPACK dsygst).

    Args:
        sigma: float64 (d, d), symmetric; the lower triangle is read.
        factor: L, float64 (d, d) in Fortran's order; the lower triangle is read.

    Returns:
        float64 (d, d), whose upper triangle means nothing.
    """
    product, width = np.array(sigma, order="F"), len(sigma)
    # It fails for arguments of no sense alone.
    _call(cython_lapack, "dsygst", 3, _LOWER, width, product, width, factor, width, 0)
    return product


def _call(module: ModuleType, name: str, *values: _Number | int | Matrix) -> None:
    _routine(module, name)(*map(_address, values))


def _address(value: _Number | int | Matrix) -> object:
    if isinstance(value, np.ndarray):
        return value.ctypes.data_as(ctypes.c_void_p)
    # Where a library's integers have four bytes, the first four of a small one are it.
    return ctypes.byref(ctypes.c_int64(value) if isinstance(value, int) else value)


@functools.cache
def _routine(module: ModuleType, name: str) -> Callable[..., None]:
    """A routine by its address; ctypes gives the lock back while it runs."""
    known = LowLevelCallable.from_cython(module, name)
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (known.signature.count(",") + 1))
    return kind(address(known.function, known.signature.encode()))
