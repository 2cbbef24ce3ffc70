"""Fixed-size network batches, so that a sample's features do not depend on the caller's batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional


def micro_batches(images: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, int]]:
    """Cut a batch into pieces of exactly `size` images, the last one padded with zeros.

    A network run on these pieces always sees one shape, hence the same kernels and the same order
    of additions; what can still differ is only a sample's place in its piece.

    Args:
        images: (B, ...).
        size: images in a piece.

    Yields:
        A piece (size, ...) and how many of its images are real.
    """
    for start in range(0, len(images), size):
        piece = images[start : start + size]
        missing = size - len(piece)
        padding = [0, 0] * (images.ndim - 1) + [0, missing]
        yield (functional.pad(piece, padding) if missing else piece), len(piece)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Run a network in plain float32: no gradients, no TF32, no choice of kernels by timing."""
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        yield
