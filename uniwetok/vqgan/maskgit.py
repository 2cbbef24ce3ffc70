"""MaskGIT's encoder and decoder in PyTorch: a VQGAN without attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.tokenizer.layers import ResBlock, group_norm, res_blocks
from uniwetok.vqgan.autoencoder import Levels, LevelsUp


class MaskGITBlock(ResBlock):
    """A residual block whose shortcut, where widths differ, takes the block's output.

    VQGAN's takes the input. MaskGIT was trained so, and adds the output to its own projection.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        if self.nin_shortcut is not None:
            self.nin_shortcut = nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h, w)."""
        h: Tensor = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(h))


class MaskGITLevel(nn.Module):
    """Residual blocks; what changes the resolution follows them."""

    def __init__(self, in_channels: int, width: int, count: int, upsample: bool = False) -> None:
        super().__init__()
        self.block = res_blocks(in_channels, width, count, MaskGITBlock)
        self.upsample_conv = nn.Conv2d(width, width, 3, padding=1) if upsample else None

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks, then double both sides where the level does."""
        x = self.block(x)
        if self.upsample_conv is None:
            return x
        out: Tensor = self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class MaskGITEncoder(nn.Module):
    """Images to latents; sides are halved by means of 2x2."""

    def __init__(self, levels: Levels) -> None:
        super().__init__()
        widths = levels.widths
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        inputs = (widths[0], *widths[:-1])
        self.down = nn.ModuleList(map(MaskGITLevel, inputs, widths, levels.blocks))
        self.mid = res_blocks(widths[-1], widths[-1], levels.middle, MaskGITBlock)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], levels.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, 3, H, W) in [0, 1] to (batch, channels, rows, columns)."""
        x = self.conv_in(x.contiguous())
        for index, level in enumerate(self.down):
            x = level(x if index == 0 else F.avg_pool2d(x, 2))
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return out


class MaskGITDecoder(LevelsUp):
    """Latents to images in [0, 1], nominally."""

    def __init__(self, levels: Levels) -> None:
        widths = levels.widths
        inputs = (*widths[1:], widths[-1])
        up = nn.ModuleList(
            MaskGITLevel(inputs[i], width, levels.blocks[i], upsample=i > 0)
            for i, width in enumerate(widths)
        )
        super().__init__(
            levels, res_blocks(widths[-1], widths[-1], levels.middle, MaskGITBlock), up
        )
