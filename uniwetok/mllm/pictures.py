"""Pictures of any size made to fit the model, as codes, and codes made to pictures again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor

from uniwetok.mllm.config import MLLMConfig, MLLMError
from uniwetok.tokenizer import UniWeTok

_LEAST_TOKENS = 2
"""Tokens along a side below which the image tokenizer encodes nothing."""
MAX_PIXELS = 1024 * 1024
"""Area above which pictures that are read are shrunk, that of the released training."""


def fit_size(height: int, width: int, config: MLLMConfig) -> tuple[int, int]:
    """Give the nearest size that the model takes.

    Args:
        height: in pixels, at least 1.
        width: likewise.
        config: of the model.

    Returns:
        Height and width, multiples of ``config.multiple`` from two tokens up to
        ``config.max_side``.

    Raises:
        MLLMError: a side is below 1.
    """
    if min(height, width) < 1:
        raise MLLMError(f"size {height}x{width}: both sides must be at least 1 pixel")
    multiple = config.multiple
    least = -(-_LEAST_TOKENS * config.downsample // multiple)
    most = config.max_side // multiple

    def nearest(side: int) -> int:
        return min(max(math.floor(side / multiple + 0.5), least), most) * multiple

    return nearest(height), nearest(width)


def check_size(height: int, width: int, config: MLLMConfig) -> None:
    """Require a size that the model takes.

    Raises:
        MLLMError: it is another; the message gives the nearest.
    """
    fitting = fit_size(height, width, config)
    if fitting != (height, width):
        raise MLLMError(
            f"size {height}x{width} is not supported: sides are multiples of {config.multiple} up "
            f"to {config.max_side}; the nearest is {fitting[0]}x{fitting[1]}"
        )


def readable_size(height: int, width: int, config: MLLMConfig) -> tuple[int, int]:
    """Give the size at which a picture is read: its own, at most ``MAX_PIXELS``, made to fit."""
    shrink = min(1.0, math.sqrt(MAX_PIXELS / (height * width)))
    return fit_size(max(1, round(height * shrink)), max(1, round(width * shrink)), config)


def encode(pictures: Sequence[np.ndarray], network: UniWeTok, config: MLLMConfig) -> list[Tensor]:
    """Encode pictures one by one, resized (bicubic, antialiased) to their readable sizes.

    Args:
        pictures: uint8 (H, W, 3) of any sizes.
        network: the image tokenizer.
        config: of the model.

    Returns:
        (latent_channels, rows, columns) each, +1 or -1, as the image tokenizer gives them.

    Raises:
        MLLMError: one is no uint8 RGB picture.
    """
    return [_encode(picture, network, config) for picture in pictures]


def _encode(picture: np.ndarray, network: UniWeTok, config: MLLMConfig) -> Tensor:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise MLLMError(
            f"a picture must be uint8 (height, width, 3), got {picture.dtype} {picture.shape}"
        )
    height, width = readable_size(picture.shape[0], picture.shape[1], config)
    if picture.shape[:2] != (height, width):
        resized = PilImage.fromarray(picture).resize((width, height), PilImage.Resampling.BICUBIC)
        picture = np.asarray(resized)
    pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
    return network.encode((pixels / 127.5 - 1).to(network.device, network.dtype))[0]


def decode(codes: Sequence[Tensor], network: UniWeTok, seeds: Sequence[int]) -> list[np.ndarray]:
    """Decode codes one by one; the decoder's noise comes from the seeds.

    Args:
        codes: (latent_channels, rows, columns) each, +1 or -1, of any sizes.
        network: the image tokenizer.
        seeds: one a picture.

    Returns:
        uint8 (height, width, 3) each.
    """
    pictures: list[np.ndarray] = []
    for each, seed in zip(codes, seeds, strict=True):
        noise = torch.Generator().manual_seed(seed)
        (image,) = network.decode(each[None].to(network.device, network.dtype), generator=noise)
        levels = ((image.float() + 1) * 127.5).round().clamp(0, 255)
        pictures.append(levels.byte().permute(1, 2, 0).cpu().numpy())
    return pictures
