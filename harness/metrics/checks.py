"""Checks of array arguments that several metrics share; each error names the value and the fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Rows = NDArray[np.floating[Any]]
_BLOCK = 4096


def check_rows(rows: Rows, name: str, minimum: int = 1) -> None:
    """Check a matrix of per-sample vectors (features or logits).

    Args:
        rows: float32 or float64 (N, d).
        name: what the matrix is called in an error.
        minimum: the smallest N that the caller can work with.

    Raises:
        ValueError: not a float32 or float64 matrix, N below the minimum, or a value that is not
            finite (the row is named).
    """
    if rows.ndim != 2 or rows.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"{name} is {rows.dtype} {rows.shape}; give a float32 or float64 matrix (samples, dim)"
        )
    if rows.shape[0] < minimum:
        raise ValueError(f"{name} has {rows.shape[0]} rows; at least {minimum} are needed")
    if (row := nonfinite_row(rows)) is not None:
        raise ValueError(f"{name} row {row} is not finite; find out why or leave that sample out")


def nonfinite_row(rows: Rows) -> int | None:
    """The first row of (N, d) that holds a NaN or an infinity; None where all are finite."""
    # In blocks: a mask of 50,000 x 2048 features at once would be another 100 MB.
    for start in range(0, len(rows), _BLOCK):
        broken = ~np.isfinite(rows[start : start + _BLOCK]).all(axis=1)
        if broken.any():
            return start + int(broken.argmax())
    return None


def check_same_width(first: int, second: int, names: tuple[str, str]) -> None:
    """Check that two matrices of vectors have the same number of columns.

    Raises:
        ValueError: the widths differ.
    """
    if first != second:
        raise ValueError(
            f"{names[0]} has {first} columns and {names[1]} has {second}; "
            "take both from the same network and output"
        )


def check_images(images: torch.Tensor, name: str) -> None:
    """Check the shape of a batch of RGB images.

    Raises:
        ValueError: not (B, 3, H, W) with B, H and W at least 1.
    """
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ValueError(f"{name} have shape {tuple(images.shape)}; give (B, 3, H, W) with B >= 1")


def check_range(images: torch.Tensor, name: str, low: float, high: float) -> None:
    """Check that a batch of float images is finite and inside its range: `range_check`, at once."""
    range_check(images, name, low, high)()


def range_check(images: torch.Tensor, name: str, low: float, high: float) -> Callable[[], None]:
    """Begin to look whether a batch of float images is finite and inside its range.

    The look is queued on the images' device, and only the call of what is returned waits for it:
    made after the network was queued too, it costs a GPU no idle moment.

    Args:
        images: float (B, ...).
        name: what the images are called in an error.
        low: the smallest value allowed.
        high: the largest value allowed.

    Raises:
        ValueError: an integer dtype, at once; by what is returned, a value outside [low, high] or
            not finite (the image is named).
    """
    if not images.is_floating_point():
        raise ValueError(f"{name} are {images.dtype}; give floats in [{low:g}, {high:g}]")
    least, most = images.flatten(1).aminmax(dim=1)
    inside = (least >= low) & (most <= high)

    def finish() -> None:
        if not bool(inside.all()):
            image = int(inside.logical_not().nonzero()[0, 0])
            raise ValueError(
                f"{name}[{image}] spans [{float(least[image]):g}, {float(most[image]):g}], outside "
                f"[{low:g}, {high:g}]; scale or clamp it to that range"
            )

    return finish
