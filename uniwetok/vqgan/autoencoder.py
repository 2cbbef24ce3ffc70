"""VQGAN's encoder and decoder, also of latent diffusion, IBQ, LlamaGen, VAR and Show-o.

Attribute names are those of the released VQGAN; `uniwetok.vqgan.forms` renames the others' weights.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.tokenizer.layers import ResBlock, group_norm, res_blocks

_Block = functools.partial(ResBlock, bias=True)


@dataclass(frozen=True)
class Levels:
    """Sizes of an encoder or a decoder, by level from the image to the latents."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    attention: tuple[bool, ...]
    """Whether each residual block of the level is followed by self-attention."""
    channels: int
    """Of the latents."""
    fused: bool = False
    """Whether one convolution gives queries, keys and values."""
    middle: int = 2
    """Residual blocks in the middle; always two around an attention, but in MaskGIT's."""


class SelfAttention(nn.Module):
    """Self-attention with one head over all places, added to its input."""

    def __init__(self, channels: int, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.norm = group_norm(channels)
        if fused:
            self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        else:
            self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, h, w) to the same shape."""
        h = self.norm(x)
        parts = self.qkv(h).chunk(3, 1) if self.fused else (self.q(h), self.k(h), self.v(h))
        query, key, value = (part.flatten(2).mT for part in parts)
        attended = F.scaled_dot_product_attention(query, key, value)
        # Never channels last: see uniwetok.tokenizer.layers.TokenMixer.mix_tokens.
        out: Tensor = x + self.proj_out(attended.mT.contiguous().view(x.shape))
        return out


class Downsample(nn.Module):
    """Halves both sides by a strided convolution, padded at the right and the bottom alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, h, w) to (batch, channels, h / 2, w / 2)."""
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Doubles both sides by repeating values, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, h, w) to (batch, channels, 2 h, 2 w)."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Level(nn.Module):
    """Residual blocks, each followed by self-attention where the level has it."""

    def __init__(self, in_channels: int, levels: Levels, index: int) -> None:
        super().__init__()
        width, count = levels.widths[index], levels.blocks[index]
        self.block = res_blocks(in_channels, width, count, _Block)
        attentions = count if levels.attention[index] else 0
        self.attn = nn.ModuleList(SelfAttention(width, levels.fused) for _ in range(attentions))
        self.downsample: Downsample | None = None
        self.upsample: Upsample | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks, then change the resolution where the level does."""
        for index, block in enumerate(self.block):
            x = block(x)
            x = self.attn[index](x) if self.attn else x
        for resample in (self.downsample, self.upsample):
            x = x if resample is None else resample(x)
        return x


class Middle(nn.Module):
    """Two residual blocks around self-attention, at the latents' resolution."""

    def __init__(self, width: int, fused: bool) -> None:
        super().__init__()
        self.block_1 = _Block(width, width)
        self.attn_1 = SelfAttention(width, fused)
        self.block_2 = _Block(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, width, h, w) to the same shape."""
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class Encoder(nn.Module):
    """Images to latents, before the codebook's own convolution."""

    def __init__(self, levels: Levels) -> None:
        super().__init__()
        widths = levels.widths
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        inputs = (widths[0], *widths[:-1])
        self.down = nn.ModuleList(Level(inputs[i], levels, i) for i in range(len(widths)))
        for width, level in zip(widths[:-1], self.down, strict=False):
            level.downsample = Downsample(width)
        self.mid = Middle(widths[-1], levels.fused)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], levels.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, 3, H, W) to (batch, channels, rows, columns)."""
        x = self.conv_in(x.contiguous())
        for level in self.down:
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return out


class LevelsUp(nn.Module):
    """Latents to images; the levels are run from the last to the first.

    Args:
        levels: sizes.
        middle: what comes before the levels.
        up: the levels.
    """

    def __init__(self, levels: Levels, middle: nn.Module, up: nn.ModuleList) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(levels.channels, levels.widths[-1], 3, padding=1)
        self.mid = middle
        self.up = up
        self.norm_out = group_norm(levels.widths[0])
        self.conv_out = nn.Conv2d(levels.widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Map (batch, channels, rows, columns) to images (batch, 3, H, W), not bounded."""
        x: Tensor = self.mid(self.conv_in(z.contiguous()))
        for index in reversed(range(len(self.up))):
            x = self.up[index](x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out


class Decoder(LevelsUp):
    """Latents to images."""

    def __init__(self, levels: Levels) -> None:
        widths = levels.widths
        inputs = (*widths[1:], widths[-1])
        up = nn.ModuleList(Level(inputs[i], levels, i) for i in range(len(widths)))
        for width, level in zip(widths[1:], up[1:], strict=True):
            level.upsample = Upsample(width)
        super().__init__(levels, Middle(widths[-1], levels.fused), up)
