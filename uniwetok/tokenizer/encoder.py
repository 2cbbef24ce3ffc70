"""The encoder: image to latents, in (-1, 1) with SigLu."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.tokenizer.layers import TokenMixer, group_norm, res_blocks
from uniwetok.tokenizer.rope import encoder_positions


class EncoderLevel(nn.Module):
    """Residual blocks, the first of which may widen, then a strided convolution that may."""

    def __init__(
        self, in_channels: int, channels: int, next_channels: int | None, num_res_blocks: int
    ) -> None:
        super().__init__()
        self.block = res_blocks(in_channels, channels, num_res_blocks)
        self.downsample = (
            None
            if next_channels is None
            else nn.Conv2d(channels, next_channels, 3, stride=2, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, next_channels, h / 2, w / 2)."""
        x = self.block(x)
        return x if self.downsample is None else self.downsample(x)


class Encoder(TokenMixer):
    """CNN, transformer and projection to the latents; differentiable.

    WeTok has residual blocks in place of the transformer, and a swish before the projection.

    Widening inside the strided convolutions is the paper's "double bottleneck channel"; otherwise
    these keep the width and the next level's first residual block widens.
    """

    def __init__(self, config: UniWeTokConfig) -> None:
        super().__init__(config, encoder_positions)
        self.siglu = config.siglu
        widths = config.widths
        if config.bottleneck == "double":
            inputs, strided = widths, widths[1:]
        else:
            inputs, strided = (widths[0], *widths[:-1]), widths[:-1]
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList(
            EncoderLevel(before, width, after, blocks)
            for before, width, after, blocks in zip(
                inputs, widths, [*strided, None], config.res_blocks, strict=True
            )
        )
        self.convolutional = config.architecture == "wetok"
        self.mid_block = res_blocks(
            config.width, config.width, config.num_res_blocks if self.convolutional else 0
        )
        self.norm_out = group_norm(config.width)
        self.conv_out = nn.Conv2d(config.width, config.latent_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images whose sides are multiples of ``config.padding``.

        Args:
            x: (batch, in_channels, H, W) in [-1, 1].

        Returns:
            (batch, latent_channels, rows, columns), see ``config.grid``, before the sign; in
            (-1, 1) with SigLu, not bounded without.
        """
        # Images often come channels last; see TokenMixer.mix_tokens on why not to compute so.
        x = self.conv_in(x.contiguous())
        for level in self.down:
            x = level(x)
        x = self.norm_out(self.mid_block(self.mix_tokens(x)))
        x = self.conv_out(F.silu(x) if self.convolutional else x)
        return siglu(x) if self.siglu else x


def siglu(x: Tensor) -> Tensor:
    """SigLu, 2 * sigmoid(x) - 1 (paper Eq. 9 with the sign of the released code)."""
    return 2 * torch.sigmoid(x) - 1
