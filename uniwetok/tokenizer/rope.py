"""Two-dimensional rotary position embedding of the transformer stacks (released code).

Encoder and decoder place their tokens differently: both fit a side into 8 units, so that an image
of any size spans the range seen at 8x8 tokens, but only at 8x8 do the two rules agree.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_BASE = 10000.0

PositionRule = Callable[[int, torch.dtype, torch.device], Tensor]
"""Positions along one side: (length, dtype, device) -> (length,)."""


def encoder_positions(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Positions j * 7 / (length - 1) + 0.5 of the encoder, from 0.5 to 7.5.

    Needs ``length >= 2``; a single token would be at 0 / 0.
    """
    steps = torch.arange(length, dtype=dtype, device=device)
    return steps * (7.0 / steps[-1]) + 0.5


def decoder_positions(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Positions (j + 0.5) * 7.5 / (length - 0.5) of the decoder, up to 7.5."""
    centers = torch.arange(length, dtype=dtype, device=device) + 0.5
    return centers * (7.5 / centers[-1])


def rotary_table(
    rule: PositionRule,
    grid: tuple[int, int],
    head_dim: int,
    register_tokens: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Cosine and sine of every token's angles, register tokens (angle 0) first.

    Args:
        rule: positions along one side, ``encoder_positions`` or ``decoder_positions``.
        grid: rows and columns of tokens.
        head_dim: channels of one head, a multiple of 4. The first half rotates with the column,
            the second with the row.
        register_tokens: tokens before the spatial ones, left as they are.
        dtype: every step is computed in it, as the released code does with that of the activations.
        device: where the table is built.

    Returns:
        (register_tokens + rows * columns, head_dim // 2, 2) of ``dtype``, row-major.
    """
    rows, columns = grid
    half = head_dim // 2
    # Each half of a head's channels is a one-dimensional rotary embedding of its own: the product
    # of a query and a key then depends on the offset in columns and in rows alone.
    exponents = torch.arange(0, half, 2, dtype=dtype, device=device) / half
    frequencies = 1.0 / _BASE**exponents
    # The released code adds 1 to image tokens, as register tokens stand at 0.
    row_angles = torch.outer(rule(rows, dtype, device) + 1.0, frequencies)
    column_angles = torch.outer(rule(columns, dtype, device) + 1.0, frequencies)
    angles = torch.cat(
        [
            column_angles.expand(rows, -1, -1),
            row_angles.unsqueeze(1).expand(-1, columns, -1),
        ],
        dim=-1,
    ).flatten(0, 1)
    angles = torch.cat([angles.new_zeros(register_tokens, half), angles])
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def apply_rotary(x: Tensor, table: Tensor) -> Tensor:
    """Rotate adjacent channel pairs (2p, 2p+1) in float32 (float64 if given) and cast back.

    Args:
        x: (batch, tokens, ..., heads, head_dim), any floating dtype.
        table: (tokens, head_dim // 2, 2) from ``rotary_table``.

    Returns:
        Tensor like ``x``.
    """
    # In half precision the products would lose the low bits that tell neighbours apart.
    between = (1,) * (x.ndim - 3)
    cos, sin = table.view(table.shape[0], *between, table.shape[1], 2).unbind(-1)
    wide = x if x.dtype == torch.float64 else x.float()
    even, odd = wide.view(*x.shape[:-1], -1, 2).unbind(-1)
    rotated = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
    return rotated.flatten(-2).to(x.dtype)
