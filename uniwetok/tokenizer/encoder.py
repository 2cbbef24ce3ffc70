"""The encoder: image to latents in (-1, 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from uniwetok.tokenizer.layers import ResBlock, TokenMixer, group_norm
from uniwetok.tokenizer.rope import encoder_positions

if TYPE_CHECKING:
    from uniwetok.tokenizer.config import UniWeTokConfig


class EncoderLevel(nn.Module):
    """Residual blocks of one width, then a strided convolution that widens to the next.

    Widening inside the strided convolution is the paper's "double bottleneck channel".
    """

    def __init__(self, channels: int, next_channels: int | None, num_res_blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(channels, channels) for _ in range(num_res_blocks))
        self.downsample = (
            None
            if next_channels is None
            else nn.Conv2d(channels, next_channels, 3, stride=2, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, h, w) to (batch, next_channels, h / 2, w / 2)."""
        for block in self.block:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class Encoder(TokenMixer):
    """CNN, transformer and projection to the latents; differentiable."""

    def __init__(self, config: UniWeTokConfig) -> None:
        super().__init__(config, encoder_positions)
        widths = config.widths
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList(
            EncoderLevel(width, next_width, config.num_res_blocks)
            for width, next_width in zip(widths, [*widths[1:], None], strict=True)
        )
        self.norm_out = group_norm(config.width)
        self.conv_out = nn.Conv2d(config.width, config.latent_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images whose sides are multiples of the downsampling factor.

        Args:
            x: (batch, in_channels, H, W) in [-1, 1].

        Returns:
            (batch, latent_channels, H / 32, W / 32) in (-1, 1), before the sign.
        """
        # Images often come channels last; see TokenMixer.mix_tokens on why not to compute so.
        x = self.conv_in(x.contiguous())
        for level in self.down:
            x = level(x)
        x = self.mix_tokens(x)
        return siglu(self.conv_out(self.norm_out(x)))


def siglu(x: Tensor) -> Tensor:
    """SigLu, 2 * sigmoid(x) - 1 (paper Eq. 9 with the sign of the released code)."""
    return 2 * torch.sigmoid(x) - 1
