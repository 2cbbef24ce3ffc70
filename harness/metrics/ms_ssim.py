"""Multi-scale structural similarity (Wang et al. 2003) of 8-bit images, as two packages define it.

They agree on what one scale is, and differ in three choices, each of which moves the third digit.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.metrics.pixel import C1, C2, Images, check_pair

Rule = Literal["pytorch-msssim", "torchmetrics"]
Values = NDArray[np.float64]

SMALLEST_SIDE = 161
"""Halved four times it still holds the window."""
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""From the finest scale to the coarsest."""
_RADIUS, _SIGMA = 5, 1.5
_WINDOW = np.exp(-(np.arange(-_RADIUS, _RADIUS + 1) ** 2) / (2 * _SIGMA**2))
_WINDOW /= _WINDOW.sum()
_STRIP = 64
"""Rows that are compared at a time."""


def ms_ssim(
    reference: Images, reconstruction: Images, rule: Rule = "pytorch-msssim"
) -> NDArray[np.float64]:
    """Multi-scale structural similarity of each image, range 255, in float64.

    Args:
        reference: uint8 (B, H, W, C).
        reconstruction: uint8 (B, H, W, C).
        rule: ``pytorch-msssim`` 1.0 multiplies the scales of a channel and averages channels,
            leaves out the border of the window, and pads odd sides with black before it halves
            them. ``torchmetrics`` 1.9 averages channels scale by scale, mirrors the border of the
            coarsest scale, and drops the last row or column of an odd side. Negative factors are 0
            in both.

    Returns:
        float64 (B,) in [0, 1]; NaN where a side is shorter than `SMALLEST_SIDE`.

    Raises:
        ValueError: wrong dtype, unequal shapes or an empty batch.
    """
    check_pair(reference, reconstruction)
    if min(reference.shape[1:3]) < SMALLEST_SIDE:
        return np.full(len(reference), np.nan)
    pairs = zip(reference.astype(np.float64), reconstruction.astype(np.float64), strict=True)
    return np.array([_similarity(x, y, rule) for x, y in pairs])


def _similarity(x: Values, y: Values, rule: Rule) -> float:
    together = rule == "torchmetrics"
    product = np.ones(1 if together else x.shape[-1])
    for scale, weight in enumerate(_WEIGHTS):
        last = scale == len(_WEIGHTS) - 1
        if last and together:
            around = [(_RADIUS, _RADIUS), (_RADIUS, _RADIUS), (0, 0)]
            x, y = (np.pad(image, around, mode="reflect") for image in (x, y))
        factor = _compared(x, y, whole=last)
        product *= np.maximum(factor.mean() if together else factor, 0) ** weight
        if not last:
            x, y = (_halved(image, cut=together) for image in (x, y))
    return float(product.mean())


def _compared(x: Values, y: Values, *, whole: bool) -> Values:
    """Mean over pixels, float64 (C,), of contrast and structure, of the `whole` also luminance."""
    height, width, channels = x.shape
    x, y = (image.reshape(height, -1) for image in (x, y))
    total = np.zeros(channels)
    # Strips that stay in the processor's cache are worked through twice as fast.
    for top in range(0, height - 2 * _RADIUS, _STRIP):
        first, second = (image[top : top + _STRIP + 2 * _RADIUS] for image in (x, y))
        # Only the sum of both variances is needed, so one blur gives it.
        mean_x, mean_y, squares, products = (
            _blurred(each, channels)
            for each in (first, second, first * first + second * second, first * second)
        )
        means, lengths = mean_x * mean_y, mean_x**2 + mean_y**2
        values = (2 * (products - means) + C2) / (squares - lengths + C2)
        if whole:
            values *= (2 * means + C1) / (lengths + C1)
        total += values.sum(axis=0).reshape(-1, channels).sum(axis=0)
    mean: Values = total / ((height - 2 * _RADIUS) * (width - 2 * _RADIUS))
    return mean


def _blurred(image: Values, channels: int) -> Values:
    """The window's mean at every place where it fits, rows first, (H - 10, (W - 10) C)."""
    for axis, step in ((0, 1), (1, channels)):
        lines = image.shape[axis] - 2 * _RADIUS * step
        parts = [
            image[at : at + lines] if axis == 0 else image[:, at : at + lines]
            for at in range(0, (2 * _RADIUS + 1) * step, step)
        ]
        image = parts[_RADIUS] * _WINDOW[_RADIUS]
        for place in range(_RADIUS):
            pair = parts[place] + parts[-1 - place]
            pair *= _WINDOW[place]
            image += pair
    return image


def _halved(image: Values, *, cut: bool) -> Values:
    """Means of 2x2 pixels."""
    odd = [side % 2 for side in image.shape[:2]]
    if not cut:
        image = np.pad(image, [*((each, each) for each in odd), (0, 0)])
    height, width = (side // 2 for side in image.shape[:2])
    image = image[: 2 * height, : 2 * width]
    blocks: Values = image.reshape(height, 2, width, 2, -1).mean(axis=(1, 3))
    return blocks
