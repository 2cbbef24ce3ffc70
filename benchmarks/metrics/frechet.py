"""Fréchet distance beside pytorch-fid (scipy's sqrtm) and torch-fidelity (eigvals)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from benchmarks.metrics.rounds import Claim, Comparison
from benchmarks.metrics.sizes import Sizes
from harness.metrics.features import FeatureStatistics
from harness.metrics.frechet import frechet_distance, frechet_distance_from_features

Matrix = NDArray[np.float64]

_SLOW_ROUNDS = 2
_SQRTM, _EIGVALS = "scipy sqrtm (pytorch-fid)", "torch-fidelity"


def from_statistics(sizes: Sizes, device: str) -> list[Comparison]:
    """Covariances with the same eigenvectors, where the distance is the sum of (√a - √b)²."""
    del device
    draws = np.random.default_rng(0)
    basis, _ = np.linalg.qr(draws.normal(size=(sizes.width, sizes.width)))
    mean = np.zeros(sizes.width)
    spectra = _spectra(sizes.width)
    first, second = ((basis * spectrum) @ basis.T for spectrum in spectra)
    own = [FeatureStatistics(mean, sigma, None) for sigma in (first, second)]

    return [
        Comparison(
            unit="call",
            items=1,
            variants={
                "ours": lambda: _single(frechet_distance(*own)),
                _SQRTM: lambda: _single(_sqrtm_distance(mean, first, mean, second)),
                _EIGVALS: lambda: _single(_eigvals_distance(mean, first, mean, second)),
            },
            claims=_claims(f"Fréchet, d = {sizes.width}", 10, 3),
            truth=lambda: _single(_commuting_distance(*spectra)),
            most_rounds=_SLOW_ROUNDS,
        )
    ]


def from_features(sizes: Sizes, device: str) -> list[Comparison]:
    """Fewer features than columns, built to have exactly such covariances."""
    del device
    count, width = sizes.few_features, sizes.width
    draws = np.random.default_rng(0)
    spectra = _spectra(count - 1)
    basis, _ = np.linalg.qr(draws.normal(size=(width, count - 1)))
    sets = [_features_of(spectrum, basis, draws) for spectrum in spectra]
    tensors = [torch.from_numpy(features) for features in sets]

    def by_sqrtm() -> list[Matrix]:
        moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in sets]
        return _single(_sqrtm_distance(*moments[0], *moments[1]))

    def by_eigvals() -> list[Matrix]:
        statistics = [fid_features_to_statistics(x) for x in tensors]
        moments = [(values["mu"], values["sigma"]) for values in statistics]
        return _single(_eigvals_distance(*moments[0], *moments[1]))

    return [
        Comparison(
            unit="call",
            items=1,
            variants={
                "ours": lambda: _single(frechet_distance_from_features(*sets)),
                _SQRTM: by_sqrtm,
                _EIGVALS: by_eigvals,
            },
            claims=_claims(f"Fréchet from {count:,} features", 50, 10),
            truth=lambda: _single(_commuting_distance(*spectra)),
            most_rounds=_SLOW_ROUNDS,
        )
    ]


def _claims(label: str, beside_sqrtm: float, beside_eigvals: float) -> list[Claim]:
    return [
        Claim(label, "ours", _SQRTM, beside_sqrtm),
        Claim(label, "ours", _EIGVALS, beside_eigvals),
    ]


def _spectra(rank: int) -> tuple[Matrix, Matrix]:
    place = np.arange(1, rank + 1)
    spectrum = 3.0 * place**-1.1
    return spectrum, spectrum * (1 + 0.1 * np.sin(place))


def _commuting_distance(first: Matrix, second: Matrix) -> float:
    return float(np.sum((np.sqrt(first) - np.sqrt(second)) ** 2))


def _features_of(spectrum: Matrix, basis: Matrix, draws: np.random.Generator) -> Matrix:
    """Features of mean 0 whose covariance has the given spectrum along the basis."""
    count = len(spectrum) + 1
    square = draws.normal(size=(count, count))
    # Columns at right angles to the first one, which is constant, have mean 0.
    square[:, 0] = 1
    orthogonal = np.linalg.qr(square)[0][:, 1:]
    return (orthogonal * np.sqrt((count - 1) * spectrum)) @ basis.T


def _sqrtm_distance(mu_1: Matrix, sigma_1: Matrix, mu_2: Matrix, sigma_2: Matrix) -> float:
    return float(calculate_frechet_distance(mu_1, sigma_1, mu_2, sigma_2))


def _eigvals_distance(mu_1: Matrix, sigma_1: Matrix, mu_2: Matrix, sigma_2: Matrix) -> float:
    first, second = {"mu": mu_1, "sigma": sigma_1}, {"mu": mu_2, "sigma": sigma_2}
    metric = fid_statistics_to_metric(first, second, verbose=False)
    return float(metric["frechet_inception_distance"])


def _single(value: float) -> list[Matrix]:
    return [np.array([value])]
