"""Tokenizers of other projects: sides filled up, latents stored, symbols packed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.interfaces import Code

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interfaces.types import ModelCard

PROBE = 256
"""Side of the image by which a network's factor is learnt, in pixels."""


class LatentTokenizer:
    """A network that divides an image's sides by a factor, to latents or a codebook's symbols.

    Sides that are no multiple of the factor are filled up at the right and the bottom by repeating
    the last pixels, and cut after decoding; all latents count. Continuous latents are stored in a
    dtype, whose bits are their rate.
    """

    _factor: int

    @property
    def card(self) -> ModelCard:
        """Whose codebook says whether there are symbols."""
        raise NotImplementedError

    @property
    def _stored(self) -> str:
        """Dtype of stored latents."""
        raise NotImplementedError

    def _latents_of(self, images: Tensor) -> Tensor:
        """Latents (B, channels, [1,] rows, columns), or symbols int (B, rows, columns)."""
        raise NotImplementedError

    def _images_of(self, latents: Tensor) -> Tensor:
        """Decode what `_latents_of` gave to images (B, 3, H, W) in [-1, 1]."""
        raise NotImplementedError

    def _learn_factor(self) -> None:
        """See by how much the network divides the sides of an image."""
        import torch

        probe = self._latents_of(torch.zeros(1, 3, PROBE, PROBE))
        self._factor = max(1, PROBE // probe.shape[-1])

    def encode(self, images: Tensor) -> list[Code]:
        """Encode float32 images (B, 3, H, W) in [-1, 1].

        Raises:
            ValueError: the network cannot do this size, or its latents are not finite.
        """
        import torch
        from torch.nn.functional import pad

        height, width = images.shape[-2:]
        below, right = -height % self._factor, -width % self._factor
        with torch.no_grad():
            latents = self._latents_of(pad(images, (0, right, 0, below), mode="replicate"))
        grid = ((height + below) // self._factor, (width + right) // self._factor)
        if tuple(latents.shape[-2:]) != grid:
            raise ValueError(
                f"the network makes {tuple(latents.shape[-2:])} latents of {width}x{height} "
                f"pixels, not {grid}: it cannot do this size"
            )
        if (codebook := self.card.codebook) is not None:
            rows = latents.reshape(len(latents), -1, 1).cpu().numpy()
            return [Code.of_symbols(row, codebook, height, width) for row in rows]
        if not latents.isfinite().all():
            raise ValueError("latents are not finite")
        stored = latents.to(getattr(torch, self._stored)).cpu().contiguous()
        return [_packed(each, height, width) for each in stored]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode codes of one size to float32 (B, 3, H, W); nothing is drawn."""
        import numpy as np
        import torch

        del seeds
        height, width = codes[0].height, codes[0].width
        if (codebook := self.card.codebook) is not None:
            symbols = np.stack([codebook.unpack(code.payload) for code in codes])
            grid = (-(-side // self._factor) for side in (height, width))
            latents = torch.from_numpy(symbols).reshape(len(codes), *grid)
        else:
            dtype = getattr(torch, self._stored)
            latents = torch.stack([_unpacked(code.payload, dtype) for code in codes])
        with torch.no_grad():
            images = self._images_of(latents).float()[..., :height, :width]
        if tuple(images.shape[-2:]) != (height, width):
            raise ValueError(f"decoded {tuple(images.shape[-2:])} pixels of {height, width}")
        return images


def _packed(latents: Tensor, height: int, width: int) -> Code:
    """Latents behind their shape, which follows from the size and is no part of the rate."""
    import torch

    shape = struct.pack(f"<B{latents.ndim}I", latents.ndim, *latents.shape)
    values = latents.reshape(-1).view(torch.uint8).numpy().tobytes()
    return Code(shape + values, height, width, 8 * len(values))


def _unpacked(payload: bytes, dtype: Any) -> Tensor:
    import torch

    sides = payload[0]
    shape = struct.unpack_from(f"<{sides}I", payload, 1)
    values = torch.frombuffer(bytearray(payload[1 + 4 * sides :]), dtype=dtype)
    return values.reshape(shape)
