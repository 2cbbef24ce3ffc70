"""Building blocks of encoder, decoder and transformers; attribute names are the released ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.tokenizer.config import NORM_GROUPS, UniWeTokConfig
from uniwetok.tokenizer.rope import PositionRule, apply_rotary, rotary_table

_EPS = 1e-6
_FEED_FORWARD_MULTIPLE = 256


def group_norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """GroupNorm with the released number of groups (32) and epsilon (1e-6)."""
    return nn.GroupNorm(NORM_GROUPS, channels, eps=_EPS, affine=affine)


class ResBlock(nn.Module):
    """Residual block: twice GroupNorm, swish and a 3x3 convolution.

    Where the widths differ, the block's raw input passes a 1x1 convolution (``nin_shortcut``)
    before it is added.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = False) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.norm2 = group_norm(out_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.nin_shortcut = (
            None
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h, w)."""
        h: Tensor = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(x))


def res_blocks(
    in_channels: int, channels: int, count: int, block: Callable[[int, int], nn.Module] = ResBlock
) -> nn.Sequential:
    """Residual blocks one after the other, the first of which changes the width."""
    widths = [in_channels, *[channels] * count]
    return nn.Sequential(*(block(width, channels) for width in widths[:count]))


class Cache(Protocol):
    """What holds the keys and values of earlier tokens, layer by layer."""

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add a layer's new keys and values (rows, heads, new, head_dim); return all it holds."""
        ...


class Attention(nn.Module):
    """Self-attention with rotary positions, without biases and without QK-norm."""

    def __init__(self, width: int, heads: int, linear: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.heads = heads
        self.wqkv = linear(width, 3 * width, bias=False)
        self.wo = linear(width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        table: Tensor,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """Attend.

        Args:
            x: (batch, tokens, width), the new tokens.
            table: rotary table of the new tokens.
            mask: (tokens, tokens) bool, True where a token sees another; None lets every new token
                see all new and cached ones.
            cache: holds earlier tokens and takes the new ones; None without earlier tokens.
            layer: index of this layer in the cache.
        """
        qkv: Tensor = self.wqkv(x)
        qkv = qkv.view(*qkv.shape[:2], 3, self.heads, -1)
        # Keys are rotated before they are cached: a token's place never changes.
        query, key = apply_rotary(qkv[:, :, :2], table).unbind(2)
        query, key, value = (part.transpose(1, 2) for part in (query, key, qkv[:, :, 2]))
        if cache is not None:
            key, value = cache.extend(layer, key, value)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.wo(attended.transpose(1, 2).flatten(2))
        return out


class SwiGLU(nn.Module):
    """SwiGLU: a gate and a value from ``w1``, projected by ``w2``."""

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        channels: int,
        bias: bool = True,
        linear: type[nn.Linear] = nn.Linear,
    ) -> None:
        super().__init__()
        self.w1 = linear(in_channels, 2 * hidden, bias=bias)
        self.w2 = linear(hidden, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_channels) to (..., channels)."""
        gate, value = self.w1(x).chunk(2, dim=-1)
        out: Tensor = self.w2(F.silu(gate) * value)
        return out


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: attention, then SwiGLU.

    The hidden width is 8/3 of the width, rounded up to a multiple of 256.

    Args:
        width: channels of a token.
        heads: attention heads.
        linear: kind of the linear layers.
    """

    def __init__(self, width: int, heads: int, linear: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.attention = Attention(width, heads, linear)
        hidden = -(-(8 * width // 3) // _FEED_FORWARD_MULTIPLE) * _FEED_FORWARD_MULTIPLE
        self.feed_forward = SwiGLU(width, hidden, width, bias=False, linear=linear)
        self.attention_norm = nn.RMSNorm(width, eps=_EPS)
        self.ffn_norm = nn.RMSNorm(width, eps=_EPS)

    def forward(
        self,
        x: Tensor,
        table: Tensor,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """Map tokens (batch, tokens, width) to the same shape; see ``Attention``."""
        x = x + self.attention(self.attention_norm(x), table, mask, cache, layer)
        out: Tensor = x + self.feed_forward(self.ffn_norm(x))
        return out


class TokenMixer(nn.Module):
    """Base of encoder and decoder: the transformer stack at the latent resolution.

    A base class rather than a child module, because the released names of its weights
    (``register_token``, ``mid_attn_blocks``) stand directly under ``encoder`` and ``decoder``.
    """

    def __init__(self, config: UniWeTokConfig, rule: PositionRule) -> None:
        super().__init__()
        self.head_dim = config.width // config.heads
        self.rope_in_activation_dtype = config.rope_in_activation_dtype
        self.rule = rule
        self.register_token = (
            nn.Embedding(config.register_tokens, config.width)
            if config.architecture == "uniwetok"
            else None
        )
        self.mid_attn_blocks = nn.ModuleList(
            TransformerBlock(config.width, config.heads) for _ in range(config.attention_blocks)
        )

    def mix_tokens(self, x: Tensor) -> Tensor:
        """Run the transformer over register and spatial tokens (row-major), keep the latter.

        Maps (batch, width, h, w) to the same shape.
        """
        if self.register_token is None or not self.mid_attn_blocks:
            return x
        grid = (x.shape[2], x.shape[3])
        registers = self.register_token.weight
        table = rotary_table(
            self.rule,
            grid,
            self.head_dim,
            registers.shape[0],
            dtype=x.dtype if self.rope_in_activation_dtype else torch.float32,
            device=x.device,
        )
        tokens = torch.cat([registers.expand(x.shape[0], -1, -1), x.flatten(2).mT], dim=1)
        for block in self.mid_attn_blocks:
            tokens = block(tokens, table)
        # Never channels last, the layout of a bare transpose: there the CPU's GroupNorm cancels
        # digits in its variance, and decoded images are off by up to 2e-3.
        return tokens[:, registers.shape[0] :].mT.contiguous().view(x.shape)


class Upsampler(nn.Module):
    """Doubles height and width: a 3x3 convolution to 4x the channels, then depth to space.

    The order is DCR, ``out[c, 2h+i, 2w+j] = in[(2i+j) * C + c]``, unlike ``pixel_shuffle``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, 2 h, 2 w)."""
        blocks: Tensor = self.conv1(x).unflatten(1, (2, 2, -1))
        return blocks.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


class AdaptiveGroupNorm(nn.Module):
    """GroupNorm whose scale and shift are linear in the deviation and mean of the codes."""

    def __init__(self, latent_channels: int, channels: int) -> None:
        super().__init__()
        self.gn = group_norm(channels, affine=False)
        self.gamma = nn.Linear(latent_channels, channels)
        self.beta = nn.Linear(latent_channels, channels)

    def forward(self, x: Tensor, deviation: Tensor, mean: Tensor) -> Tensor:
        """Normalise x.

        Args:
            x: (batch, channels, h, w).
            deviation: (batch, latent_channels), standard deviation of the codes.
            mean: (batch, latent_channels), mean of the codes.
        """
        scale: Tensor = self.gamma(deviation)[:, :, None, None]
        shift: Tensor = self.beta(mean)[:, :, None, None]
        out: Tensor = scale * self.gn(x) + shift
        return out
