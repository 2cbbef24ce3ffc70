"""The causal transformer over class tokens and binary tokens; attribute names are the released."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from uniwetok.ar.config import BitDanceConfig
from uniwetok.ar.layers import Linear, SwiGLU
from uniwetok.tokenizer.layers import TransformerBlock
from uniwetok.tokenizer.rope import rotary_table

_EPS = 1e-6


class Sizes(Protocol):
    """Sizes of a transformer."""

    @property
    def width(self) -> int:
        """Channels of a token."""
        ...

    @property
    def layers(self) -> int:
        """How many there are."""
        ...

    @property
    def heads(self) -> int:
        """Of every layer."""
        ...


class KeyValueCache:
    """Keys and values of every layer, allocated once for all positions.

    Args:
        config: sizes of the model.
        rows: sequences held.
        length: positions held of each.
        like: a tensor of the dtype and on the device to use.

    Attributes:
        entries: (layers, 2, rows, heads, length, head_dim); keys, then values.
        filled: positions that every layer holds.
    """

    def __init__(self, config: Sizes, rows: int, length: int, like: Tensor) -> None:
        head_dim = config.width // config.heads
        self.entries = like.new_empty(config.layers, 2, rows, config.heads, length, head_dim)
        self.filled = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write new positions of a layer and return all of its positions.

        Args:
            layer: index of the layer.
            keys: (rows, heads, new, head_dim).
            values: like ``keys``.
        """
        end = self.filled + keys.shape[2]
        held_keys, held_values = self.entries[layer]
        held_keys[:, :, self.filled : end] = keys
        held_values[:, :, self.filled : end] = values
        return held_keys[:, :, :end], held_values[:, :, :end]

    def fill_from(self, other: KeyValueCache, rows: Tensor) -> None:
        """Copy the positions of another cache, whose row ``rows[i]`` becomes row i."""
        for ours, theirs in zip(self.entries, other.entries, strict=True):
            ours[..., : other.filled, :] = theirs[:, rows, :, : other.filled]
        self.filled = other.filled


class Trunk(nn.Module):
    """What turns tokens into conditions of the diffusion head, whatever is generated and how."""

    def __init__(self, config: BitDanceConfig) -> None:
        super().__init__()
        self.proj_in = SwiGLU(config.latent_channels, config.width * 3 // 2, config.width)
        self.emb_norm = nn.RMSNorm(config.width, eps=_EPS)
        self.layers = nn.ModuleList(
            TransformerBlock(config.width, config.heads, Linear) for _ in range(config.layers)
        )
        self.norm = nn.RMSNorm(config.width, eps=_EPS)
        self.pos_for_diff = nn.Embedding(config.tokens, config.width)

    def run(
        self, x: Tensor, table: Tensor, mask: Tensor | None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Run the blocks on tokens (batch, tokens, width); see ``Attention``."""
        x = self.emb_norm(x)
        for layer, block in enumerate(self.layers):
            x = block(x, table, mask, cache, layer)
        if cache is not None:
            cache.filled += table.shape[0]
        return x


class Transformer(Trunk):
    """Hidden states that predict an image's tokens, from its class and the tokens before.

    The sequence is the class tokens, the queries of parallel prediction, and the image's tokens in
    the order of ``generation_order``. Predictions are made ``parallel_tokens`` at a time; tokens of
    one prediction see each other and all before them. The first is read at the last class token
    and the queries.

    A base class of the model rather than a child, because the released names of its weights stand
    at the top.
    """

    def __init__(self, config: BitDanceConfig) -> None:
        super().__init__(config)
        self.config = config
        self.cls_embedding = nn.Embedding(config.classes + 1, config.class_tokens * config.width)
        if config.parallel_tokens > 1:
            self.query_token = nn.Parameter(
                torch.empty(1, config.parallel_tokens - 1, config.width)
            )

    def hidden_states(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Give the hidden states that predict every token, from the true tokens before it.

        Args:
            tokens: (batch, tokens, latent_channels), +1 or -1, in generation order.
            labels: (batch,) int64, ``classes`` being the null class.

        Returns:
            (batch, tokens, width), the diffusion head's conditioning.
        """
        config = self.config
        given = self.proj_in(tokens[:, : config.tokens - config.parallel_tokens])
        x = torch.cat([self._prefix(labels), given], dim=1)
        x = self.run(x, self.rotary_table(), self._mask(config.sequence))
        return self._predictions(x[:, -config.tokens :], 0)

    def prefill(self, labels: Tensor, table: Tensor, cache: KeyValueCache) -> Tensor:
        """Start sequences with their classes.

        Args:
            labels: (rows,) int64, ``classes`` being the null class.
            table: from ``rotary_table``.
            cache: an empty one, which is filled.

        Returns:
            (rows, parallel_tokens, width), the conditioning of the first step.
        """
        x = self._prefix(labels)
        # The only step that needs a mask: later ones see all that the cache holds.
        x = self.run(x, table[: x.shape[1]], self._mask(x.shape[1]), cache)
        return self._predictions(x[:, -self.config.parallel_tokens :], 0)

    def advance(self, tokens: Tensor, table: Tensor, cache: KeyValueCache) -> Tensor:
        """Continue sequences with the tokens of one step.

        Args:
            tokens: (rows, parallel_tokens, latent_channels), +1 or -1.
            table: from ``rotary_table``.
            cache: holds the sequences before, and takes the new tokens.

        Returns:
            (rows, parallel_tokens, width), the conditioning of the next step.
        """
        start, new = cache.filled, tokens.shape[1]
        x = self.run(self.proj_in(tokens), table[start : start + new], None, cache)
        return self._predictions(x, cache.filled - self.config.prefix)

    def rotary_table(self) -> Tensor:
        """Cosine and sine of every position's angles, (sequence, head_dim // 2, 2) float32.

        Not a buffer, so that it stays in float32 when the model is converted.
        """
        config = self.config
        table = rotary_table(
            centers,
            (config.grid, config.grid),
            config.width // config.heads,
            config.prefix,
            dtype=torch.float32,
            device=self.norm.weight.device,
        )
        order = config.prefix + generation_order(config, table.device)
        return torch.cat([table[: config.prefix], table[order]])[: config.sequence]

    def _prefix(self, labels: Tensor) -> Tensor:
        classes: Tensor = self.cls_embedding(labels).unflatten(1, (self.config.class_tokens, -1))
        if self.config.parallel_tokens == 1:
            return classes
        return torch.cat([classes, self.query_token.expand(len(labels), -1, -1)], dim=1)

    def _mask(self, length: int) -> Tensor:
        """Causal mask (length, length) whose predictions' tokens see each other."""
        # Positions come in groups of one prediction: the last class token with the queries
        # predicts the first patch, and each patch predicts the next. Tokens of a group are drawn
        # in one step, so in training too they must see each other: block-causal from there on.
        group = torch.arange(length, device=self.norm.weight.device)
        group = (group - (self.config.class_tokens - 1)).clamp(min=0) // self.config.parallel_tokens
        causal = torch.ones(length, length, dtype=torch.bool, device=group.device).tril()
        in_image = torch.arange(length, device=group.device) >= self.config.class_tokens - 1
        together = (group[:, None] == group) & in_image[:, None] & in_image
        return causal | together

    def _predictions(self, x: Tensor, first: int) -> Tensor:
        out: Tensor = self.norm(x) + self.pos_for_diff.weight[first : first + x.shape[1]]
        return out


def generation_order(config: BitDanceConfig, device: torch.device | str = "cpu") -> Tensor:
    """Raster index of each token in the order of generation, (tokens,) int64.

    Row-major patches of ``parallel_tokens``, row-major within; so the raster order itself where
    tokens are predicted one by one.
    """
    return patch_order(config.grid, config.grid, config.patch, device)


def patch_order(rows: int, columns: int, patch: int, device: torch.device | str = "cpu") -> Tensor:
    """Raster index of each token of a grid, patch by patch, (rows * columns,) int64.

    Tokens that are predicted together must follow each other in the sequence and be neighbours in
    the image, whose dependence the diffusion head models; hence patches rather than raster runs.

    Args:
        rows: a multiple of ``patch``.
        columns: a multiple of ``patch``.
        patch: side of a patch, in tokens.
        device: where it is made: a GPU would be waited for to take it.
    """
    raster = torch.arange(rows * columns, device=device)
    return raster.view(rows // patch, patch, columns // patch, patch).transpose(1, 2).flatten()


def to_tokens(codes: Tensor, config: BitDanceConfig) -> Tensor:
    """Map codes (batch, bits, grid, grid) to tokens (batch, tokens, bits) in generation order."""
    return codes.flatten(2).mT[:, generation_order(config, codes.device)]


def to_codes(tokens: Tensor, config: BitDanceConfig) -> Tensor:
    """Invert ``to_tokens``."""
    raster = torch.empty_like(tokens)
    raster[:, generation_order(config, tokens.device)] = tokens
    return raster.mT.reshape(*raster.mT.shape[:2], config.grid, config.grid)


def centers(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Positions 0.5, 1.5 ... along a side, the rule of BitDance's rotary embedding."""
    return torch.arange(length, dtype=dtype, device=device) + 0.5
