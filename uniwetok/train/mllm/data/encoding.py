"""Encoding of images of many sizes, those of one size together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor, stack

from uniwetok.tokenizer import UniWeTok
from uniwetok.train.data.augment import to_model_range

_MOST_PIXELS = 4 * 1024 * 1024
"""Encoded at a time."""


def encode_pixels(tokenizer: UniWeTok, pixels: Sequence[Tensor]) -> list[Tensor]:
    """Encode images.

    Args:
        tokenizer: in evaluation mode.
        pixels: uint8 (3, height, width) each.

    Returns:
        (latent_channels, rows, columns) each, +1 or -1, on the CPU.
    """
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, image in enumerate(pixels):
        by_size[tuple(image.shape)].append(place)
    codes: dict[int, Tensor] = {}
    for shape, places in by_size.items():
        count = max(1, _MOST_PIXELS // (shape[1] * shape[2]))
        for start in range(0, len(places), count):
            chosen = places[start : start + count]
            images = to_model_range(stack([pixels[place] for place in chosen]))
            encoded = tokenizer.encode(images.to(tokenizer.device)).float().cpu()
            codes |= dict(zip(chosen, encoded, strict=True))
    return [codes[place] for place in range(len(pixels))]
