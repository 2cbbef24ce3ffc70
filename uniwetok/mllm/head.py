"""What joins the language model to images: the projector, positions and the diffusion head.

Attribute names are the released ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.ar.config import HeadSizes
from uniwetok.ar.diffusion_head import Denoiser, DiffusionHead, PatchBlock
from uniwetok.ar.layers import Linear

_MAX_PERIOD = 10000.0


class Projector(nn.Module):
    """MLP from an image token's bits to the language model's channels."""

    def __init__(self, bits: int, width: int) -> None:
        super().__init__()
        self.fc1 = Linear(bits, width)
        self.fc2 = Linear(width, width)

    def forward(self, codes: Tensor) -> Tensor:
        """Map (..., bits) to (..., width)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(codes), approximate="tanh"))
        return out


class BoundedDenoiser(Denoiser):
    """The head's network: attention among the tokens of a step, even of one; bits in (-1, 1)."""

    def make_block(self, config: HeadSizes) -> PatchBlock:
        """Make one residual block."""
        return PatchBlock(config.diffusion_width, config.diffusion_heads)

    def denoise(self, noisy: Tensor, modulations: list[Tensor]) -> Tensor:
        """Predict clean bits (..., bits) from noisy ones and their modulations."""
        return 2 * super().denoise(noisy, modulations).sigmoid() - 1


class VisionHead(DiffusionHead):
    """The diffusion head over the language model's hidden states ("diffusion_parallel_x")."""

    denoiser = BoundedDenoiser

    def __init__(self, config: HeadSizes) -> None:
        super().__init__(config)
        self.net.initialize()


def grid_embedding(grid: Tensor, width: int) -> Tensor:
    """Sines and cosines of places in an image: half of the channels of the column, half of the row.

    Within each half, first the sines, then the cosines, at width / 4 frequencies from 1 down.

    Args:
        grid: (..., 2) row and column.
        width: a multiple of 4.

    Returns:
        (..., width) float32.
    """
    count = width // 4
    exponents = torch.arange(count, dtype=torch.float32, device=grid.device) / count
    angles = grid.flip(-1)[..., None].float() * _MAX_PERIOD**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
