"""Generative-Aware Prior: how well a tiny BitDance predicts each token from those before.

Trained with the tokenizer and discarded after it. Gradients reach the tokenizer through
straight-through codes, both as what is predicted and as what is predicted from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.ar.config import BitDanceConfig
from uniwetok.ar.diffusion_head import DiffusionHead
from uniwetok.ar.layers import initialize
from uniwetok.ar.transformer import Trunk, centers
from uniwetok.losses.config import PriorConfig
from uniwetok.losses.numerics import full_precision
from uniwetok.tokenizer.rope import rotary_table


class GenerativeAwarePrior(nn.Module):
    """The prior loss (paper, Eq. 7), not weighted.

    A causal transformer over [Query, U_B[:-1]] gives a condition for every token of U_B, from which
    a diffusion head predicts its bits; nothing tells it the image's class. Tokens are in raster
    order, at the rotary positions of BitDance, on a grid of any size.

    Attributes:
        config: sizes and open choices.
        channels: bits of a token.
        trunk: the transformer.
        head: the diffusion head.
        query: (1, 1, width), the learned first token; None where the first is not predicted.
    """

    def __init__(self, config: PriorConfig, channels: int = 128, grid: int = 8) -> None:
        """Draw BitDance's initial weights, at which the loss of "x" is 1, of "bitdance" about 3.

        Args:
            config: sizes and open choices.
            channels: bits of a token.
            grid: tokens along a side of the square grid for which an embedding of each position is
                learned (paper: 8); for other grids these are interpolated.
        """
        super().__init__()
        self.config = config
        self.channels = channels
        self.grid = grid
        sizes = BitDanceConfig(
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            diffusion_width=config.diffusion_width,
            diffusion_blocks=config.diffusion_blocks,
            diffusion_modulations=config.diffusion_modulations,
            latent_channels=channels,
            grid=grid,
        )
        self.trunk = Trunk(sizes)
        self.query: nn.Parameter | None = None
        if config.query:
            self.query = nn.Parameter(torch.empty(1, 1, config.width))
        self.head = DiffusionHead(sizes)
        initialize(self)
        self.head.net.initialize()

    def forward(self, codes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Give the loss of a batch.

        Args:
            codes: (batch, channels, h, w) floating, +1 or -1, with straight-through gradients.
            generator: on the codes' device; draws times, then noise. None draws globally.

        Returns:
            () float32 (float64 if the codes are), also under autocast.

        Raises:
            ValueError: ``codes`` have another shape, or a single token.
        """
        if codes.ndim != 4 or codes.shape[1] != self.channels or codes.shape[2:].numel() < 2:
            raise ValueError(
                f"codes are {tuple(codes.shape)}; the prior takes (batch, {self.channels}, h, w) "
                f"of at least two tokens"
            )
        tokens = full_precision(codes).flatten(2).mT
        # Both ways carry gradients unless detached: as targets, tokens become easier to predict; as
        # context, more telling of those to come.
        target = tokens if self.query is not None else tokens[:, 1:]
        target = target.detach() if self.config.detach_target else target
        context = tokens.detach() if self.config.detach_context else tokens
        condition = self.conditions(context, (codes.shape[2], codes.shape[3]))
        # The rows of the head are tokens, so that each has a time of its own.
        repeats = (self.config.repeats, 1)
        target = target.flatten(0, 1).repeat(repeats)
        condition = condition.flatten(0, 1).repeat(repeats)
        loss = self.head if self.config.objective == "bitdance" else self.head.bit_loss
        return loss(target, condition, generator)

    def conditions(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Give what each token is predicted from; it depends on earlier tokens alone.

        Args:
            tokens: (batch, h w, channels), +1 or -1, row-major.
            grid: h and w.

        Returns:
            (batch, predicted, width): for every token, or for all but the first without the query.
        """
        x: Tensor = self.trunk.proj_in(tokens[:, :-1])
        prefix = 0
        if self.query is not None:
            x = torch.cat([self.query.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
            prefix = 1
        length = x.shape[1]
        head_dim = self.config.width // self.config.heads
        table = rotary_table(centers, grid, head_dim, prefix, torch.float32, x.device)[:length]
        # Plainly causal: tokens are predicted one by one, each from those before it.
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        x = self.trunk.norm(self.trunk.run(x, table, causal))
        return x + self._positions(grid)[-length:]

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Embedding of every position of a grid, (h w, width), row-major."""
        learned = self.trunk.pos_for_diff.weight
        if grid == (self.grid, self.grid):
            return learned
        image = learned.T.reshape(1, -1, self.grid, self.grid)
        resized = F.interpolate(image, size=grid, mode="bilinear", align_corners=False)
        return resized[0].flatten(1).T
