"""The decoder: codes, and noise where it is generative, to image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.tokenizer.layers import (
    AdaptiveGroupNorm,
    TokenMixer,
    Upsampler,
    group_norm,
    res_blocks,
)
from uniwetok.tokenizer.rope import decoder_positions

_VARIANCE_EPS = 1e-6


class DecoderLevel(nn.Module):
    """Residual blocks, the first of which narrows, then doubling of height and width."""

    def __init__(
        self, in_channels: int, channels: int, next_channels: int | None, num_res_blocks: int
    ) -> None:
        super().__init__()
        self.block = res_blocks(in_channels, channels, num_res_blocks)
        self.upsample = None if next_channels is None else Upsampler(channels, next_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, next_channels, 2 h, 2 w)."""
        x = self.block(x)
        return x if self.upsample is None else self.upsample(x)


class Decoder(TokenMixer):
    """Transformer and CNN from codes and noise to an image; differentiable.

    With ``num_res_blocks=0`` no residual block can narrow the features, so the upsamplers do. The
    released code leaves them at full width, which cannot be what the paper's Tab. 32 trained.
    """

    def __init__(self, config: UniWeTokConfig) -> None:
        super().__init__(config, decoder_positions)
        widths = config.widths
        self.generative = config.generative
        inputs = (2 if config.generative else 1) * config.latent_channels
        self.conv_in = nn.Conv2d(inputs, config.width, 3, padding=1)
        self.mid_block = res_blocks(config.width, config.width, config.num_res_blocks)
        upsampled = widths if config.num_res_blocks == 0 else (*widths[1:], config.width)
        outputs = [None, *(widths[:-1] if config.num_res_blocks == 0 else widths[1:])]
        self.up = nn.ModuleList(
            DecoderLevel(before, width, after, blocks)
            for before, width, after, blocks in zip(
                upsampled, widths, outputs, config.res_blocks, strict=True
            )
        )
        self.adaptive = nn.ModuleList(
            AdaptiveGroupNorm(config.latent_channels, before) for before in upsampled
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, codes: Tensor, noise: Tensor | None) -> Tensor:
        """Decode; where generative, the same codes give different images under different noise.

        Args:
            codes: (batch, latent_channels, h, w), +1 or -1.
            noise: standard normal, shaped as ``codes``; unused unless generative.

        Returns:
            (batch, out_channels, H, W) of whole tokens, nominally in [-1, 1] but not clamped.
        """
        deviation = (codes.var(dim=(2, 3)) + _VARIANCE_EPS).sqrt()
        mean = codes.mean(dim=(2, 3))
        x = torch.cat([codes, noise], dim=1) if self.generative and noise is not None else codes
        x = self.mix_tokens(self.conv_in(x.contiguous()))
        x = self.mid_block(x)
        for adaptive, level in zip(reversed(self.adaptive), reversed(self.up), strict=True):
            x = level(adaptive(x, deviation, mean))
        image: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return image
