"""Codebooks of VQGAN's family: latents to codes, int64, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Search = Literal["nearest", "cosine", "inner", "signs", "scales"]
"""How a token is looked up: the nearest entry, that of the least angle (of entries and latents of
length 1), that of the largest inner product, by signs, or scale by scale."""

_COMPARED = 2**24
"""Latents times entries that are compared at a time: 64 MiB of float32."""


class Codebook(nn.Module):
    """A table of entries; a place's code is the entry nearest to its latent.

    Args:
        size: entries.
        channels: of an entry.
        search: nearest, cosine or inner.
    """

    def __init__(self, size: int, channels: int, search: Search = "nearest") -> None:
        super().__init__()
        self.size = size
        self.search = search
        self.embedding = nn.Embedding(size, channels)

    def grid(self, rows: int, columns: int) -> tuple[int, ...]:
        """Shape of the codes of so many rows and columns of latents."""
        return rows, columns

    def codes(self, z: Tensor) -> Tensor:
        """Map latents (batch, channels, rows, columns) to codes (batch, rows, columns)."""
        rows = z.movedim(1, -1).flatten(0, 2)
        pieces = torch.split(rows, max(1, _COMPARED // self.size))
        return torch.cat([self._looked_up(piece) for piece in pieces]).view(len(z), *z.shape[2:])

    def latents(self, codes: Tensor) -> Tensor:
        """Map codes (batch, rows, columns) to latents (batch, channels, rows, columns)."""
        entries: Tensor = self.embedding(codes)
        entries = F.normalize(entries, dim=-1) if self.search == "cosine" else entries
        return entries.movedim(-1, 1).contiguous()

    def _looked_up(self, rows: Tensor) -> Tensor:
        """Codes of latents (rows, channels), compared in float32 at least."""
        entries = self.embedding.weight
        dtype = torch.promote_types(entries.dtype, torch.float32)
        entries, rows = entries.to(dtype), rows.to(dtype)
        if self.search == "inner":
            return (rows @ entries.mT).argmax(1)
        if self.search == "cosine":
            entries, rows = F.normalize(entries, dim=-1), F.normalize(rows, dim=-1)
        # |z - e|^2 in the order of the released code, which rounds alike.
        squares = rows.square().sum(1, keepdim=True) + entries.square().sum(1)
        return torch.addmm(squares, rows, entries.mT, alpha=-2).argmin(1)


class Signs(nn.Module):
    """Codes of the latents' signs, the most significant bit first; there is no table."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.size = 2**bits
        self.bits = bits

    def grid(self, rows: int, columns: int) -> tuple[int, ...]:
        """Shape of the codes of so many rows and columns of latents."""
        return rows, columns

    def codes(self, z: Tensor) -> Tensor:
        """Map latents (batch, bits, rows, columns) to codes (batch, rows, columns)."""
        return ((z > 0).long() << self._places(z)[:, None, None]).sum(1)

    def latents(self, codes: Tensor) -> Tensor:
        """Map codes (batch, rows, columns) to -1 or +1 (batch, bits, rows, columns), float32."""
        places = self._places(codes)[:, None, None]
        return (codes[:, None] >> places & 1).float() * 2 - 1

    def _places(self, like: Tensor) -> Tensor:
        return torch.arange(self.bits - 1, -1, -1, device=like.device)


SCALES = {
    16: (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    32: (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
}
"""Sides of VAR's scales by the side of the latents, which is a sixteenth of the image's."""
_RESIDUAL = 0.5
"""Weight of a scale's convolution beside its own input, in all released models."""


class Scales(Codebook):
    """VAR's codes: of ever larger maps, each of what the smaller ones have left.

    A map's entries are enlarged to the latents' size and smoothed by one of a few convolutions,
    which neighbouring scales share, before they are added up.
    """

    def __init__(self, size: int, channels: int, convolutions: int) -> None:
        super().__init__(size, channels)
        self.quant_resi = nn.Module()
        self.quant_resi.qresi_ls = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(convolutions)
        )

    def grid(self, rows: int, columns: int) -> tuple[int, ...]:
        """Shape of the codes: of all scales, one after the other.

        Raises:
            ValueError: the authors have no scales for this size.
        """
        if rows != columns or rows not in SCALES:
            raise ValueError(
                f"VAR's tokenizer takes images of 256x256 or 512x512 pixels, not of {rows} by "
                f"{columns} times 16"
            )
        return (sum(side**2 for side in SCALES[rows]),)

    def codes(self, z: Tensor) -> Tensor:
        """Map latents (batch, channels, side, side) to codes (batch, tokens of all scales)."""
        self.grid(*z.shape[2:])
        sides = SCALES[z.shape[2]]
        rest = z.to(torch.promote_types(z.dtype, torch.float32))
        found = []
        for index, side in enumerate(sides):
            last = index == len(sides) - 1
            small = rest if last else F.interpolate(rest, size=(side, side), mode="area")
            codes = super().codes(small)
            rest = rest - self.enlarged(codes, index, sides)
            found.append(codes.flatten(1))
        return torch.cat(found, 1)

    def latents(self, codes: Tensor) -> Tensor:
        """Map codes (batch, tokens of all scales) to latents (batch, channels, side, side).

        Raises:
            ValueError: the number of tokens is that of no size.
        """
        for sides in SCALES.values():
            if sum(side**2 for side in sides) == codes.shape[1]:
                maps = torch.split(codes, [side**2 for side in sides], 1)
                return torch.stack(
                    [
                        self.enlarged(each.reshape(-1, side, side), index, sides)
                        for index, (side, each) in enumerate(zip(sides, maps, strict=True))
                    ]
                ).sum(0)
        raise ValueError(f"{codes.shape[1]} tokens are those of no size: 680 are, and 2240")

    def enlarged(self, codes: Tensor, index: int, sides: Sequence[int]) -> Tensor:
        """Give one scale's part of the latents, in float32 at least.

        Args:
            codes: (batch, side, side) of the scale.
            index: which it is.
            sides: of all scales.
        """
        entries = super().latents(codes)
        if index < len(sides) - 1:
            entries = F.interpolate(entries, size=(sides[-1], sides[-1]), mode="bicubic")
        convolution = self._convolution(index / (len(sides) - 1))
        mixed: Tensor = entries * (1 - _RESIDUAL) + convolution(entries) * _RESIDUAL
        return mixed.to(torch.promote_types(mixed.dtype, torch.float32))

    def _convolution(self, place: float) -> nn.Module:
        """The convolution of a scale, by its place from 0 to 1 among them."""
        layers = self.quant_resi.qresi_ls
        assert isinstance(layers, nn.ModuleList)
        count = len(layers)
        # VAR places four convolutions so that the first and the last have the most scales.
        edge = 1 / (3 if count == 4 else 2) / count
        centres = torch.linspace(edge, 1 - edge, count, dtype=torch.float64)
        return layers[int((centres - place).abs().argmin())]
