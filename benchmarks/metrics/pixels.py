"""SSIM and PSNR beside scikit-image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.metrics.inputs import Images, photos, reconstructions
from benchmarks.metrics.rounds import Claim, Comparison
from benchmarks.metrics.sizes import Sizes
from harness.metrics import pixel

Values = NDArray[np.floating[Any]]


def ssim(sizes: Sizes, device: str) -> list[Comparison]:
    """7x7 uniform window of 8-bit colour; the truth has integer sums and extended precision."""

    def by_scikit_image(x: Images, y: Images) -> float:
        return float(structural_similarity(x, y, data_range=255, channel_axis=-1))

    del device
    return [_comparison("SSIM", 8, sizes, pixel.ssim, by_scikit_image, _exact_ssim)]


def psnr(sizes: Sizes, device: str) -> list[Comparison]:
    """Range 255; the truth has integer sums and extended precision."""

    def by_scikit_image(x: Images, y: Images) -> float:
        return float(peak_signal_noise_ratio(x, y, data_range=255))

    del device
    return [_comparison("PSNR", 5, sizes, pixel.psnr, by_scikit_image, _exact_psnr)]


def _comparison(
    label: str,
    goal: float,
    sizes: Sizes,
    own: Callable[[Images, Images], Values],
    by_scikit_image: Callable[[Images, Images], float],
    exact: Callable[[Images, Images], np.longdouble],
) -> Comparison:
    references = photos(sizes.pixel_pairs, sizes.side)
    others = reconstructions(references)

    def one_by_one(function: Callable[[Images, Images], Any]) -> list[Values]:
        return [np.array([function(x, y) for x, y in zip(references, others, strict=True)])]

    return Comparison(
        unit="pair",
        items=sizes.pixel_pairs,
        variants={
            "ours": lambda: [own(references, others)],
            "scikit-image": lambda: one_by_one(by_scikit_image),
        },
        claims=[Claim(label, "ours", "scikit-image", goal)],
        truth=lambda: one_by_one(exact),
        absolute=True,
    )


def _exact_ssim(x: Images, y: Images) -> np.longdouble:
    area = 49

    def sums(values: NDArray[np.int64]) -> NDArray[np.longdouble]:
        windows = sliding_window_view(values, (7, 7), axis=(0, 1)).sum(axis=(-2, -1))
        return windows.astype(np.longdouble)

    u, v = x.astype(np.int64), y.astype(np.int64)
    c1, c2 = (np.longdouble(1 * 255) / 100) ** 2, (np.longdouble(3 * 255) / 100) ** 2
    mean_u, mean_v = sums(u) / area, sums(v) / area
    uu, vv, uv = (
        (area * sums(a * b) - sums(a) * sums(b)) / (area * (area - 1))
        for a, b in ((u, u), (v, v), (u, v))
    )
    luminance = (2 * mean_u * mean_v + c1) / (mean_u**2 + mean_v**2 + c1)
    return np.mean(luminance * (2 * uv + c2) / (uu + vv + c2))


def _exact_psnr(x: Images, y: Images) -> np.longdouble:
    squares = int(np.sum((x.astype(np.int64) - y) ** 2))
    return 10 * np.log10(np.longdouble(255**2 * x.size) / squares)
