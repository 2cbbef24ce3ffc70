"""PSNR and SSIM of 8-bit images, one value per image."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

Images = NDArray[np.uint8]
Sums = NDArray[np.int32]

_WINDOW = 7
_AREA = _WINDOW * _WINDOW
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
# Rows of a strip: tall enough for its 6 extra rows not to weigh, short enough for an L2 cache.
_STRIP = 64


def psnr(reference: Images, reconstruction: Images) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each image, range 255.

    The squared error is summed in integers, so the result is scikit-image 0.26's
    ``peak_signal_noise_ratio(..., data_range=255)`` without its rounding.

    Args:
        reference: uint8 (B, H, W, C).
        reconstruction: uint8 (B, H, W, C).

    Returns:
        float64 (B,) in decibels; identical images give +inf.

    Raises:
        ValueError: wrong dtype, unequal shapes or an empty batch.
    """
    check_pair(reference, reconstruction)
    errors = np.array(
        [_squared_error(x, y) for x, y in zip(reference, reconstruction, strict=True)],
        dtype=np.float64,
    )
    with np.errstate(divide="ignore"):
        decibels: NDArray[np.float64] = 10 * np.log10(255.0**2 / (errors / reference[0].size))
    return decibels


def ssim(
    reference: Images,
    reconstruction: Images,
    window: Literal["uniform7", "gaussian11"] = "uniform7",
    precision: Literal["float64", "float32"] = "float64",
) -> NDArray[np.float64]:
    """Structural similarity of each image, averaged over channels.

    Args:
        reference: uint8 (B, H, W, C).
        reconstruction: uint8 (B, H, W, C).
        window: ``uniform7`` is scikit-image 0.26's default (7x7 mean, sample covariance, a border
            of 3 pixels left out). ``gaussian11`` is Wang et al. 2004 (sigma 1.5, population
            covariance, a border of 5 pixels left out).
        precision: ``float64`` works on the 8-bit values with range 255. ``float32`` works on
            ``uint8 / 255`` in float32 with range 1, as WeTok's original-resolution script does;
            its rounding moves the result by up to 5e-7.

    Returns:
        float64 (B,) in [-1, 1].

    Raises:
        ValueError: wrong dtype, unequal shapes, an empty batch, or a side shorter than the window.
    """
    check_pair(reference, reconstruction)
    side = {"uniform7": _WINDOW, "gaussian11": 11}[window]
    if min(reference.shape[1:3]) < side:
        raise ValueError(
            f"images are {reference.shape[1]}x{reference.shape[2]}; SSIM with the {window} window "
            f"needs sides of at least {side}"
        )
    if window == "uniform7" and precision == "float64":
        return _UniformSsim(*reference.shape[2:])(reference, reconstruction)
    values = [
        _scikit_image_ssim(x, y, window, precision)
        for x, y in zip(reference, reconstruction, strict=True)
    ]
    return np.array(values, dtype=np.float64)


def luma(images: Images) -> Images:
    """Pillow's 8-bit grey of RGB images (ITU-R 601): uint8 (B, H, W, 3) to (B, H, W, 1)."""
    greys = [np.asarray(Image.fromarray(image).convert("L")) for image in images]
    return np.stack(greys)[..., None]


def check_pair(reference: Images, reconstruction: Images) -> None:
    """Raise `ValueError` for what are no two batches of 8-bit images of one shape."""
    for name, images in (("reference", reference), ("reconstruction", reconstruction)):
        if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
            raise ValueError(
                f"{name} is {images.dtype} {images.shape}; give uint8 (B, H, W, C) with B >= 1"
            )
    if reference.shape != reconstruction.shape:
        raise ValueError(
            f"reference is {reference.shape} and reconstruction is {reconstruction.shape}; "
            "pair the images and give them the same size"
        )


def _squared_error(x: Images, y: Images) -> int:
    difference = np.maximum(x, y)
    difference -= np.minimum(x, y)
    squares = difference.astype(np.uint16)
    squares *= squares
    # uint32 holds 66,051 squares of 255: every row sum is exact below that many columns.
    rows = squares.reshape(-1, squares.shape[-2] * squares.shape[-1])
    return int(rows.sum(axis=0, dtype=np.uint64 if len(rows) > 66_051 else np.uint32).sum())


def _scikit_image_ssim(x: Images, y: Images, window: str, precision: str) -> float:
    scale = np.float32(255) if precision == "float32" else np.uint8(1)
    gaussian = window == "gaussian11"
    value = structural_similarity(
        x / scale if precision == "float32" else x,
        y / scale if precision == "float32" else y,
        data_range=1.0 if precision == "float32" else 255,
        channel_axis=-1,
        gaussian_weights=gaussian,
        use_sample_covariance=not gaussian,
    )
    return float(value)


class _UniformSsim:
    """SSIM with 7x7 means of 8-bit images, whose window sums are exact in int32.

    Rows stay interleaved (a pixel's neighbour is ``channels`` columns away), and an image is
    worked through in strips that stay in the cache.
    """

    def __init__(self, width: int, channels: int) -> None:
        self.channels = channels
        self.columns = (width - _WINDOW + 1) * channels
        rows = _STRIP + _WINDOW - 1
        self.x, self.y, self.packed, self.pairs, self.vertical = (
            np.empty((rows, width * channels), np.int32) for _ in range(5)
        )
        self.sum_x, self.sum_y, self.sum_xy, self.sum_dd, self.square = (
            np.empty((_STRIP, self.columns), np.int32) for _ in range(5)
        )
        self.ratio, self.factor, self.divisor = (np.empty((_STRIP, self.columns)) for _ in range(3))

    def __call__(self, reference: Images, reconstruction: Images) -> NDArray[np.float64]:
        batch, height, width, channels = reference.shape
        windows = height - _WINDOW + 1
        result = np.empty(batch)
        for image in range(batch):
            x = reference[image].reshape(height, width * channels)
            y = reconstruction[image].reshape(height, width * channels)
            total = 0.0
            for top in range(0, windows, _STRIP):
                rows = min(_STRIP, windows - top)
                strip = slice(top, top + rows + _WINDOW - 1)
                total += self._strip_sum(x[strip], y[strip], rows)
            result[image] = total / (windows * self.columns)
        return result

    def _strip_sum(self, x_strip: Images, y_strip: Images, rows: int) -> float:
        """Sum the similarity map over the windows whose top row lies in the strip."""
        x, y, packed = (a[: rows + _WINDOW - 1] for a in (self.x, self.y, self.packed))
        x[...] = x_strip
        y[...] = y_strip
        # Σx and Σy are at most 49·255 < 2¹⁴, so that one pass sums both: Σ(x + 2¹⁶y).
        np.left_shift(y, 16, out=packed)
        packed += x
        sum_y = self._window_sums(packed, self.sum_y[:rows])
        sum_x = np.bitwise_and(sum_y, 0xFFFF, out=self.sum_x[:rows])
        sum_y >>= 16
        product = np.multiply(x, y, out=packed)
        sum_xy = self._window_sums(product, self.sum_xy[:rows])
        np.subtract(x, y, out=x)
        np.multiply(x, x, out=x)
        sum_dd = self._window_sums(x, self.sum_dd[:rows])

        # With n = 49: x² + y² = (x - y)² + 2xy turns every term into integers below 2³¹,
        #   luminance  2·Σx·Σy           over  (Σx - Σy)² + 2·Σx·Σy             (times 1/n²),
        #   structure  2·(n·Σxy - Σx·Σy) over  n·Σ(x-y)² - (Σx-Σy)² + numerator (times 1/n(n-1)).
        square = np.subtract(sum_x, sum_y, out=self.square[:rows])
        square *= square
        luminance = np.multiply(sum_x, sum_y, out=sum_x)
        luminance *= 2
        structure = sum_xy
        structure *= 2 * _AREA
        structure -= luminance
        contrast = sum_dd
        contrast *= _AREA
        contrast -= square
        contrast += structure
        brightness = np.add(square, luminance, out=square)

        scale_1, scale_2 = C1 * _AREA**2, C2 * _AREA * (_AREA - 1)
        ratio, divisor, factor = self.ratio[:rows], self.divisor[:rows], self.factor[:rows]
        # To cast first and add in place is faster than an addition that casts.
        for total, left, right in (
            (ratio, luminance, structure),
            (divisor, brightness, contrast),
        ):
            total[...] = left
            total += scale_1
            factor[...] = right
            factor += scale_2
            total *= factor
        ratio /= divisor
        return float(ratio.sum())

    def _window_sums(self, values: Sums, out: Sums) -> Sums:
        """Write the sums over 7x7 windows of `values` (rows + 6, width) to `out` (rows, ...)."""
        rows, step, columns = len(out), self.channels, self.columns
        # Seven terms as pairs, pairs of pairs, and one: four additions in each direction.
        pairs = np.add(values[:-1], values[1:], out=self.pairs[: rows + 5])
        vertical = np.add(pairs[:rows], pairs[2 : rows + 2], out=self.vertical[:rows])
        vertical += pairs[4 : rows + 4]
        vertical += values[6:]
        span = columns + 5 * step
        across = np.add(
            vertical[:, :span], vertical[:, step : span + step], out=self.pairs[:rows, :span]
        )
        np.add(across[:, :columns], across[:, 2 * step : 2 * step + columns], out=out)
        out += across[:, 4 * step : 4 * step + columns]
        out += vertical[:, 6 * step :]
        return out
