"""Encoding of training images by a frozen tokenizer, in the precision that was asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from uniwetok.tokenizer import UniWeTok
from uniwetok.train import TrainingError
from uniwetok.train.engine.settings import EncodingPrecision


def encode(tokenizer: UniWeTok, images: Tensor, precision: EncodingPrecision) -> Tensor:
    """Encode images, as `UniWeTok.encode` does, whose weights stay as they are.

    Args:
        tokenizer: in evaluation mode, in float32.
        images: float32 (B, 3, H, W) in [-1, 1], on any device.
        precision: of the encoder's convolutions and products.

    Returns:
        (B, bits, rows, columns) floating, +1 or -1, on the tokenizer's device.

    Raises:
        TrainingError: an image's latents are not finite.
    """
    half = precision != "float32"
    images = images.to(tokenizer.device)
    try:
        with torch.autocast(images.device.type, getattr(torch, precision), enabled=half):
            return tokenizer.encode(images)
    except ValueError as error:
        raise TrainingError(f"data.precision={precision}: {error}") from error
