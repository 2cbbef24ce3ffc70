"""Sign quantization, group indices and the packed byte form of codes.

A token is ``latent_channels`` bits; +1 stands for a set bit. Channels ``g * d .. g * d + d - 1``
are group g, least significant bit first (released code, whose comments say the opposite). Packed,
a token is the bits of all its channels, eight a byte, least significant first. With the paper's
groups of 8 bits, byte k of a token is therefore the index of group k.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_MAX_INDEX_BITS = 63


def quantize(latents: Tensor) -> Tensor:
    """Binarize latents: +1 where positive, -1 elsewhere (also at 0 and NaN, as released).

    Returns:
        Tensor like ``latents``, without gradient.
    """
    one = torch.ones((), dtype=latents.dtype, device=latents.device)
    return torch.where(latents > 0, one, -one)


def finite_rows(values: Tensor) -> Tensor:
    """Tell which samples of (batch, ...) are finite throughout, (batch,) bool on their device."""
    return values.isfinite().flatten(1).all(dim=1)


def check_finite(finite: Tensor, what: str) -> None:
    """Raise `ValueError` naming the samples that are not finite: their signs would pass for codes.

    Args:
        finite: (batch,) bool of ``finite_rows``.
        what: what gave the values, for the message.
    """
    if not bool(finite.all()):
        rows = ", ".join(map(str, (~finite).nonzero().flatten().tolist()))
        raise ValueError(
            f"{what} gave values that are not finite for sample {rows} of {len(finite)}: too wild "
            "an input, or a precision too low (try float32)"
        )


def quantize_straight_through(latents: Tensor) -> Tensor:
    """Binarize latents as ``quantize`` does, passing gradients on to them unchanged.

    Returns:
        Tensor like ``latents``, exactly +1 or -1; NaN where a latent is not finite.
    """
    # The sign has no useful gradient, so the backward pass takes it for the identity: the second
    # summand is 0 in value and 1 in derivative. Not the usual latents + (codes - latents), which
    # rounds the codes off by an ulp.
    return quantize(latents.detach()) + (latents - latents.detach())


def codes_to_indices(codes: Tensor, groups: int) -> Tensor:
    """Give each group's index into its 2^d codes, d = channels / groups.

    Args:
        codes: (batch, channels, h, w), +1 or -1.
        groups: number of groups; divides the channels.

    Returns:
        (batch, h, w, groups) int64 in 0 .. 2^d - 1.

    Raises:
        ValueError: a value is neither +1 nor -1, or a group has more than 63 bits.
    """
    bits_per_group = codes.shape[1] // groups
    if bits_per_group > _MAX_INDEX_BITS:
        raise ValueError(
            f"{groups} groups of {bits_per_group} bits: an int64 index holds at most "
            f"{_MAX_INDEX_BITS} bits; use more groups, or pack the codes instead"
        )
    return _little_endian(_bits(codes), bits_per_group)


def pack(codes: Tensor) -> list[bytes]:
    """Pack codes into bytes, tokens row-major.

    Args:
        codes: (batch, channels, h, w), +1 or -1.

    Returns:
        One ``bytes`` a sample, of h * w * ceil(channels / 8) bytes.

    Raises:
        ValueError: a value is neither +1 nor -1.
    """
    bits = _bits(codes)
    padded = F.pad(bits, (0, -bits.shape[-1] % 8))
    packed = _little_endian(padded, 8).to(torch.uint8).cpu()
    return [sample.numpy().tobytes() for sample in packed]


def unpack(packed: Sequence[bytes], grid: tuple[int, int], channels: int) -> Tensor:
    """Invert ``pack``.

    Args:
        packed: one ``bytes`` a sample.
        grid: rows and columns of tokens.
        channels: bits of a token.

    Returns:
        (batch, channels, rows, columns) float32, +1 or -1.

    Raises:
        TypeError: a sample is not bytes-like.
        ValueError: there is no sample, a sample's length does not fit the grid, or a padding bit
            is set.
    """
    rows, columns = grid
    bytes_per_token = -(-channels // 8)
    expected = rows * columns * bytes_per_token
    if isinstance(packed, bytes | bytearray):
        raise TypeError("unpack takes a list with one bytes object a sample; wrap it: [packed]")
    if not packed:
        raise ValueError("unpack got no samples")
    for index, sample in enumerate(packed):
        if not isinstance(sample, bytes | bytearray):
            raise TypeError(f"sample {index} is a {type(sample).__name__}, expected bytes")
        if len(sample) != expected:
            raise ValueError(
                f"sample {index} has {len(sample)} bytes; a grid of {rows}x{columns} tokens of "
                f"{channels} bits takes {expected}"
            )
    data = torch.frombuffer(bytearray(b"".join(packed)), dtype=torch.uint8)
    return unpack_bytes(data.view(len(packed), -1), grid, channels)


def unpack_bytes(packed: Tensor, grid: tuple[int, int], channels: int) -> Tensor:
    """Invert ``pack`` on any device.

    Args:
        packed: (batch, rows * columns * ceil(channels / 8)) uint8.
        grid: rows and columns of tokens.
        channels: bits of a token.

    Returns:
        (batch, channels, rows, columns) float32, +1 or -1, on the device of ``packed``.

    Raises:
        ValueError: a padding bit is set.
    """
    data = packed.view(len(packed), *grid, -(-channels // 8), 1)
    bits = (data >> torch.arange(8, dtype=torch.uint8, device=packed.device) & 1).flatten(3)
    # Whole bytes have no padding: nothing to wait for on a GPU.
    if channels % 8 and bits[..., channels:].any():
        raise ValueError(f"a padding bit is set: the bytes do not hold tokens of {channels} bits")
    return bits[..., :channels].permute(0, 3, 1, 2).float().mul(2).sub(1).contiguous()


def _bits(codes: Tensor) -> Tensor:
    """Map +1 / -1 (batch, channels, h, w) to bool (batch, h, w, channels)."""
    invalid = codes.abs() != 1
    if invalid.any():
        raise ValueError(
            f"codes must be +1 or -1; {int(invalid.sum())} of {codes.numel()} values are not, "
            f"such as {codes[invalid][0].item():g}. Codes come from encode(); latents do not"
        )
    return (codes > 0).movedim(1, -1)


def _little_endian(bits: Tensor, length: int) -> Tensor:
    """Sum bit j * 2^j, in int64, over runs of ``length`` bits of the last dimension."""
    weights = 2 ** torch.arange(length, dtype=torch.int64, device=bits.device)
    return (bits.view(*bits.shape[:-1], -1, length) * weights).sum(-1)
