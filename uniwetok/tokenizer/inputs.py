"""Checks of images and codes, padding to whole tokens, and the decoder's noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from uniwetok.tokenizer.config import UniWeTokConfig

Generators = torch.Generator | Sequence[torch.Generator]
"""A CPU generator for the whole batch, or one for each sample."""


def check_images(x: Tensor, config: UniWeTokConfig) -> None:
    """Require floating images (batch, in_channels, H, W) of at least two tokens a side.

    Raises:
        TypeError: not a floating tensor.
        ValueError: another shape, or too small.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(
            f"images must be a floating tensor in [-1, 1], got {describe(x)}; "
            f"convert 8-bit images with x / 127.5 - 1"
        )
    channels, least = config.in_channels, config.min_image_size
    if x.ndim != 4 or x.shape[1] != channels or not x.shape[0]:
        raise ValueError(f"images must be (batch, {channels}, H, W), got {describe(x)}")
    if min(x.shape[2:]) < least:
        raise ValueError(
            f"an image of {x.shape[2]}x{x.shape[3]} is too small: both sides need at least {least} "
            f"pixels, since on a single row or column of tokens the encoder's positions, and on a "
            f"single token the codes' deviation, are 0/0 (NaN); resize or pad it"
        )


def check_codes(codes: Tensor, config: UniWeTokConfig) -> None:
    """Require floating codes (batch, latent_channels, h, w); their values are not looked at.

    Raises:
        TypeError: not a floating tensor.
        ValueError: another shape.
    """
    if not isinstance(codes, Tensor) or not codes.is_floating_point():
        raise TypeError(
            f"codes must be a floating tensor of +1 and -1, got {describe(codes)}; "
            f"bytes become codes with unpack()"
        )
    bits = config.latent_channels
    if codes.ndim != 4 or codes.shape[1] != bits or not codes.numel():
        raise ValueError(f"codes must be (batch, {bits}, h, w), got {describe(codes)}")


def check_grid(grid: tuple[int, int], size: tuple[int, int] | None, config: UniWeTokConfig) -> None:
    """Require a grid that an image has, and one of ``size`` if that is given.

    Raises:
        ValueError: the grid is below 2x2 tokens, or belongs to images of another size.
    """
    rows, columns = grid
    if min(grid) < 2:
        raise ValueError(
            f"a grid of {rows}x{columns} tokens is too small: both sides need at least 2, as every "
            f"encoded image has"
        )
    factor = config.downsample
    if size is not None and config.grid(*size) != grid:
        step = max(factor, config.padding)
        raise ValueError(
            f"size={tuple(size)} is not that of an image with {rows}x{columns} tokens: the height "
            f"must be in {rows * factor - step + 1}..{rows * factor} and the width in "
            f"{columns * factor - step + 1}..{columns * factor}"
        )


def check_noise(noise: Tensor, codes: Tensor) -> None:
    """Require floating noise shaped as the codes.

    Raises:
        TypeError: not a floating tensor.
        ValueError: another shape.
    """
    if not isinstance(noise, Tensor) or not noise.is_floating_point():
        raise TypeError(f"noise must be a floating tensor, got {describe(noise)}")
    if noise.shape != codes.shape:
        raise ValueError(f"noise is {describe(noise)}; these codes need {tuple(codes.shape)}")


def draw_noise(codes: Tensor, generator: Generators | None) -> Tensor:
    """Draw standard normal noise shaped as the codes, on the CPU, one sample after the other.

    Returns:
        float32 on the CPU; a sample's noise depends on neither batch size nor device.

    Raises:
        ValueError: the generators are not one for each sample, or one is not on the CPU.
    """
    batch = codes.shape[0]
    generators: list[torch.Generator | None]
    if generator is None or isinstance(generator, torch.Generator):
        generators = [generator] * batch
    else:
        generators = list(generator)
    if len(generators) != batch:
        raise ValueError(f"{len(generators)} generators for {batch} samples: give one for each")
    if any(each is not None and each.device.type != "cpu" for each in generators):
        raise ValueError(
            "noise is drawn on the CPU, to be the same on every device: pass torch.Generator()"
        )
    draws = [torch.randn(codes.shape[1:], generator=each, device="cpu") for each in generators]
    return torch.stack(draws)


def pad(x: Tensor, multiple: int) -> Tensor:
    """Pad both sides symmetrically with zeros to multiples; odd rests go to the bottom and right.

    The released evaluation at original resolution pads so, to multiples of 16.
    """
    bottom, right = (-side % multiple for side in x.shape[2:])
    top, left = bottom // 2, right // 2
    return F.pad(x, (left, right - left, top, bottom - top)) if bottom or right else x


def crop(x: Tensor, size: tuple[int, int], multiple: int) -> Tensor:
    """Invert ``pad`` for an image of ``size``."""
    height, width = size
    top, left = (-height % multiple) // 2, (-width % multiple) // 2
    return x[:, :, top : top + height, left : left + width]


def describe(value: object) -> str:
    """Give a tensor's shape and dtype, or another value's type, for messages."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__
