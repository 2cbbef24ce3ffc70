"""The routines that let other threads go on give the bits of scipy's wrappers of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator
from scipy.linalg import blas, lapack

from harness.metrics.stats import one_thread_each, over_cores
from harness.metrics.unlocked import add_outer_products, cholesky, congruent


@pytest.fixture
def draw() -> Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("width", [1, 7, 130])
def test_bits_are_those_of_scipy(draw: Generator, width: int) -> None:
    rows = draw.standard_normal((3 * width, width))
    more = draw.standard_normal((width + 1, width))
    with one_thread_each():
        lower = np.zeros((width, width), order="F")
        add_outer_products(lower, rows)
        add_outer_products(lower, more)
        known = blas.dsyrk(1.0, rows.T, lower=1)
        known = blas.dsyrk(1.0, more.T, beta=1.0, c=known, lower=1, overwrite_c=1)
        np.testing.assert_array_equal(lower, known)
        whole = np.tril(lower) + np.tril(lower, -1).T
        factor = cholesky(whole)
        assert factor is not None
        known_factor, info = lapack.dpotrf(whole, lower=1)
        assert info == 0
        np.testing.assert_array_equal(np.tril(factor), known_factor)
        other = more.T @ more
        known_product, _ = lapack.dsygst(other, known_factor, itype=3, lower=1)
        np.testing.assert_array_equal(np.tril(congruent(other, factor)), np.tril(known_product))


def test_what_is_given_stays(draw: Generator) -> None:
    rows = draw.standard_normal((20, 5))
    sigma = rows.T @ rows
    before = sigma.copy()
    factor = cholesky(sigma)
    assert factor is not None
    congruent(sigma, factor)
    np.testing.assert_array_equal(sigma, before)


@pytest.mark.parametrize("sigma", [np.zeros((3, 3)), -np.eye(3), np.diag([1.0, 1.0, -1e-3])])
def test_what_is_not_positive_definite_has_no_factor(sigma: np.ndarray) -> None:
    assert cholesky(sigma) is None


def test_threads_do_not_mix_their_matrices(draw: Generator) -> None:
    sets = draw.standard_normal((16, 40, 30))

    def lower(rows: np.ndarray) -> np.ndarray:
        found = np.zeros((30, 30), order="F")
        add_outer_products(found, rows)
        return found

    with one_thread_each():
        for together, alone in zip(over_cores(lower, sets), map(lower, sets), strict=True):
            np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    ("lower", "rows"),
    [
        (np.zeros((4, 4)), np.zeros((2, 4))),
        (np.zeros((4, 4), order="F"), np.zeros((2, 4), order="F")),
        (np.zeros((4, 4), order="F"), np.zeros((2, 5))),
    ],
)
def test_other_orders_and_widths_are_refused(lower: np.ndarray, rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Fortran's"):
        add_outer_products(lower, rows)
