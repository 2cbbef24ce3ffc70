"""The diffusion head: predicts bits from noisy bits, their time and the transformer's condition.

Tokens that are predicted in one step are denoised together: one by one by an MLP, or several by a
small transformer. Attribute names are the released ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.ar.config import HeadSizes
from uniwetok.ar.layers import Linear, SwiGLU

_EPS = 1e-6
_FREQUENCIES = 256
_MAX_PERIOD = 10000.0
_TIME_FACTOR = 1000.0
LAST_STEP = 0.05
"""Smallest 1 - t by which velocities are divided, and length of the sampler's last step."""


def time_features(time: Tensor, channels: int = _FREQUENCIES) -> Tensor:
    """Cosines, then sines, of 1000 t at frequencies from 1 down to 1 / 10000.

    Args:
        time: (...) in 0..1.
        channels: an even number.

    Returns:
        (..., channels) float32.
    """
    half = channels // 2
    exponents = torch.arange(half, dtype=torch.float32, device=time.device) / half
    frequencies = torch.exp(-math.log(_MAX_PERIOD) * exponents)
    angles = _TIME_FACTOR * time.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """MLP on ``time_features``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Linear(_FREQUENCIES, width), nn.SiLU(), Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        """Map times (...) in 0..1 to (..., width)."""
        dtype = self.mlp.get_parameter("0.weight").dtype
        out: Tensor = self.mlp(time_features(time).to(dtype))
        return out


class TokenBlock(SwiGLU):
    """Residual block on single tokens: adaptive LayerNorm, SwiGLU and a gate."""

    modulated = 3

    def __init__(self, width: int) -> None:
        super().__init__(width, width * 3 // 2, width)
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:  # type: ignore[override]
        """Map (..., width) to the same shape; modulation (..., 3 width) is scale, shift, gate."""
        scale, shift, gate = modulation.chunk(3, dim=-1)
        return x + gate * super().forward(self.norm(x) * (1 + scale) + shift)


class PatchAttention(nn.Module):
    """Full self-attention, with biases and without positions, among the tokens of one step."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wqkv = Linear(width, 3 * width)
        self.wo = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, parallel_tokens, width) to the same shape."""
        qkv = self.wqkv(x)
        if x.shape[1] == 1:
            # It sees itself alone, with weight 1. On a GPU the backward pass of attention would
            # take 64 KiB a head for each token: 70 GiB for a row of the paper's multimodal model.
            attended = qkv.chunk(3, dim=-1)[2]
        else:
            query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            heads: Tensor = F.scaled_dot_product_attention(query, key, value)
            attended = heads.transpose(1, 2).flatten(2)
        out: Tensor = self.wo(attended)
        return out


class PatchBlock(SwiGLU):
    """Residual block on the tokens of one step: attention, then SwiGLU, each modulated."""

    modulated = 6

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, width * 3 // 2, width)
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = PatchAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:  # type: ignore[override]
        """Map (batch, parallel_tokens, width) to the same shape.

        Args:
            x: the tokens.
            modulation: (batch, parallel_tokens, 6 width): scale, shift and gate of the attention,
                then of the SwiGLU.
        """
        scale1, shift1, gate1, scale2, shift2, gate2 = modulation.chunk(6, dim=-1)
        x = x + gate1 * self.attn(self.norm1(x) * (1 + scale1) + shift1)
        return x + gate2 * super().forward(self.norm2(x) * (1 + scale2) + shift2)


class FinalLayer(nn.Module):
    """Adaptive LayerNorm and projection to bits."""

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=_EPS, elementwise_affine=False)
        self.ada_ln_modulation = Linear(width, 2 * width)
        self.linear = Linear(width, bits)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Map (..., width) to (..., bits); modulation (..., 2 width) is scale, shift."""
        scale, shift = modulation.chunk(2, dim=-1)
        out: Tensor = self.linear(self.norm_final(x) * (1 + scale) + shift)
        return out


class Denoiser(nn.Module):
    """The network of the head.

    Its work is split, so that a sampler can do the parts that depend on the time or the condition
    alone, and the modulations of several times, once: ``forward`` is ``time_embed``,
    ``cond_embed``, ``modulations`` and ``denoise``.
    """

    def __init__(self, config: HeadSizes) -> None:
        super().__init__()
        width, bits = config.diffusion_width, config.latent_channels
        self.time_embed = TimeEmbedding(width)
        self.cond_embed = Linear(config.width, width)
        self.input_proj = Linear(bits, width)
        blocks = [self.make_block(config) for _ in range(config.diffusion_blocks)]
        self.res_blocks = nn.ModuleList(blocks)
        modulated = blocks[0].modulated * width
        self.ada_ln_blocks = nn.ModuleList(
            Linear(width, modulated) for _ in range(config.diffusion_modulations)
        )
        self.blocks_per_modulation = config.diffusion_blocks // config.diffusion_modulations
        self.final_layer = FinalLayer(width, bits)

    def make_block(self, config: HeadSizes) -> TokenBlock | PatchBlock:
        """Make one residual block."""
        if config.parallel_tokens > 1:
            return PatchBlock(config.diffusion_width, config.diffusion_heads)
        return TokenBlock(config.diffusion_width)

    def modulations(self, time: Tensor, condition: Tensor) -> list[Tensor]:
        """Give the parameters of all adaptive norms, the final layer's last.

        Args:
            time: outputs of ``time_embed``, broadcast against ``condition``.
            condition: outputs of ``cond_embed``, (..., width).
        """
        y = F.silu(time + condition)
        layers = [*self.ada_ln_blocks, self.final_layer.ada_ln_modulation]
        return [layer(y) for layer in layers]

    def denoise(self, noisy: Tensor, modulations: list[Tensor]) -> Tensor:
        """Predict clean bits (..., bits) from noisy ones and their modulations."""
        x = self.input_proj(noisy)
        for index, block in enumerate(self.res_blocks):
            x = block(x, modulations[index // self.blocks_per_modulation])
        out: Tensor = self.final_layer(x, modulations[-1])
        return out

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Predict clean bits.

        Args:
            noisy: (batch, ..., bits).
            time: (batch,) in 0..1; 1 is clean.
            condition: (batch, ..., width) from the transformer.

        Returns:
            Tensor like ``noisy``, not bounded.
        """
        embedded = self.time_embed(time)
        embedded = embedded.view(len(time), *[1] * (noisy.ndim - 2), embedded.shape[-1])
        return self.denoise(noisy, self.modulations(embedded, self.cond_embed(condition)))

    def initialize(self) -> None:
        """Draw the released initial weights: gates, shifts and the output start at zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for name in ("0.weight", "2.weight"):
            nn.init.normal_(self.time_embed.mlp.get_parameter(name), std=0.02)
        # adaLN-zero: with gates at 0 every block starts as the identity, and the output as 0.
        zero = [*self.ada_ln_blocks, self.final_layer.ada_ln_modulation, self.final_layer.linear]
        for layer in zero:
            nn.init.zeros_(layer.weight)


class DiffusionHead(nn.Module):
    """The head as trained: ``net`` and its losses."""

    denoiser = Denoiser
    """Kind of the network."""

    def __init__(self, config: HeadSizes) -> None:
        super().__init__()
        self.time_mean = config.time_mean
        self.time_std = config.time_std
        self.net = self.denoiser(config)

    def forward(
        self, target: Tensor, condition: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Give the mean squared error of the predicted velocity (released code).

        Bits x and noise e are mixed to z = (1 - t) e + t x at logit-normal times t. The network
        predicts x, and errors are weighted by 1 / max(1 - t, 0.05)^2, which makes them those of
        the velocity (x - z) / (1 - t).

        Args:
            target: (batch, ..., bits) float32 (or float64), +1 or -1.
            condition: (batch, ..., width).
            generator: draws times, then noise, on the target's device; None draws globally.

        Returns:
            () in the target's dtype, about 3 at the initial weights.
        """
        return self._velocity_error(target, condition, generator).square().mean()

    def token_losses(
        self, target: Tensor, condition: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Give the loss of each token, (batch, ...); see the loss above, which is their mean."""
        return self._velocity_error(target, condition, generator).square().mean(-1)

    def bit_loss(
        self, target: Tensor, condition: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Give the mean squared error of the predicted bits at uniform times (paper, Eq. 7).

        Args:
            target: as for the loss above, and so are the others.
            condition: as above.
            generator: as above.

        Returns:
            () in the target's dtype, 1 at the initial weights.
        """
        time = torch.rand(len(target), generator=generator, device=target.device)
        return self._error(target, condition, time, generator).square().mean()

    def _velocity_error(
        self, target: Tensor, condition: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Predict the velocity at logit-normal times, less the true one."""
        # Logit-normal times, most of them about 0.3: rather noise than bits, but not noise alone.
        normal = torch.randn(len(target), generator=generator, device=target.device)
        time = (normal * self.time_std + self.time_mean).sigmoid()
        error = self._error(target, condition, time, generator)
        # v = (x - z) / (1 - t), so an error in x weighs 1 / (1 - t); bounded, for that diverges.
        remaining = (1 - time).clamp(min=LAST_STEP).view(-1, *[1] * (target.ndim - 1))
        return error / remaining

    def _error(
        self, target: Tensor, condition: Tensor, time: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Predict bits from their mixture with fresh noise at the given times, less the bits."""
        # The linear path from noise (t = 0) to bits (t = 1). Tokens of one row share their time.
        noise = torch.randn(target.shape, generator=generator, device=target.device)
        t = time.view(-1, *[1] * (target.ndim - 1))
        noisy = (1 - t) * noise + t * target
        predicted: Tensor = self.net(noisy.to(condition.dtype), time, condition)
        return predicted.to(target.dtype) - target
