"""Commitment loss: latents near their codes."""

from __future__ import annotations

from torch import Tensor

from uniwetok.losses.numerics import full_precision


def commitment_loss(latents: Tensor, codes: Tensor) -> Tensor:
    """Mean squared distance of latents from their codes, which receive no gradient.

    Args:
        latents: floating, any shape, before the sign.
        codes: +1 or -1, shaped as ``latents``.

    Returns:
        Scalar, float32 (float64 for float64 latents). Latents in [-1, 1] give 0 .. 1.

    Raises:
        ValueError: the shapes differ.
    """
    if latents.shape != codes.shape:
        raise ValueError(
            f"latents {tuple(latents.shape)} and codes {tuple(codes.shape)} differ in shape; "
            f"give the codes of these latents"
        )
    latents = full_precision(latents)
    return (latents - codes.detach().to(latents.dtype)).square().mean()
