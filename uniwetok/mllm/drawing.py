"""Drawing images as codes: the language model patch by patch, the diffusion head within each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from uniwetok.ar.solver import AnySolver, solver_of
from uniwetok.ar.transformer import patch_order
from uniwetok.fields import check_count
from uniwetok.mllm import pictures
from uniwetok.mllm.batch import collate
from uniwetok.mllm.config import MLLMConfig, MLLMError
from uniwetok.mllm.layout import SequenceBuilder, TokenSequence
from uniwetok.mllm.model import MLLM
from uniwetok.randomness import stream
from uniwetok.tokenizer.quantizer import check_finite, finite_rows, quantize

OnStep = Callable[[int, int], None]
_SIDE = 1024
"""Height and width of images that nothing else decides, those of the released pipeline."""


@dataclass(frozen=True)
class Branch:
    """What one run of the model knows."""

    text: bool = True
    images: bool = True


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How images are drawn, whatever they show.

    Guidance is classifier-free: with predictions f of everything, i of the images alone and n of
    nothing, what is followed is n + image_cfg (i - n) + cfg (f - i), after Brooks et al. 2023.

    Raises:
        MLLMError: a guidance is impossible, or a height comes without a width.
        ValueError: ``steps`` is below 1.
    """

    height: int | None = None
    """Height of the images in pixels, a multiple of ``MLLMConfig.multiple``. None takes the first
    source's, or 1024 without sources."""
    width: int | None = None
    """Width of the images, likewise; give both or neither."""
    cfg: float = 7.5
    """How strongly the text is followed (released: 7.5 for DPG, 13 for GenEval); 1 is no guidance
    and runs no null branch."""
    image_cfg: float = 1.0
    """How strongly source images are kept. The released model knows no such guidance: its null
    branch sees the sources, which is the weight 1."""
    steps: int = 50
    """Noisy diffusion steps for each step of an image; the head is run once more than that."""

    def __post_init__(self) -> None:
        if (self.height is None) != (self.width is None):
            raise MLLMError("a height without a width, or the reverse: give both, or neither")
        check_count("steps", self.steps)
        for name, value in (("text", self.cfg), ("image", self.image_cfg)):
            if not 0 <= value < math.inf:
                raise MLLMError(f"guidance by {name} must be a finite number >= 0, got {value}")

    def branches(self, *, images: bool) -> tuple[list[Branch], tuple[float, ...]]:
        """Give the branches that count, most knowing first, and the weight of each over the next.

        Args:
            images: whether there are source images; without, their weight means nothing.
        """
        image = self.image_cfg if images else self.cfg
        branches = [Branch(), Branch(text=False), Branch(text=False, images=False)]
        # The formula above, sorted by branch; one whose share is 0 need not be run. The first is
        # always run, for shares of it are what the others' weights are over.
        shares = [self.cfg, image - self.cfg, 1 - image]
        kept = [index for index, share in enumerate(shares) if share or not index]
        weights = (self.cfg, image)
        return [branches[index] for index in kept], tuple(weights[index] for index in kept[:-1])


def draw(
    model: MLLM,
    builder: SequenceBuilder,
    texts: Sequence[str],
    sources: Sequence[Sequence[Tensor]],
    seeds: Sequence[int],
    drawing: Drawing,
    *,
    solver: AnySolver | None = None,
    on_step: OnStep | None = None,
) -> list[Tensor]:
    """Draw one image for each text.

    Args:
        model: in evaluation mode.
        builder: with the model's tokens.
        texts: captions or instructions, in any language that the language model knows.
        sources: codes (latent_channels, rows, columns) of the images that each text changes, of
            any sizes; none to draw from text alone.
        seeds: one an image, which depends on no other.
        drawing: size, guidance and steps.
        solver: of the vision head's network with so many steps, where it is kept from one batch to
            the next, as ``solver_of`` makes it.
        on_step: called with the tokens drawn and their number, of each size of image anew.

    Returns:
        (latent_channels, rows, columns) each, +1 or -1, in the dtype of the model.

    Raises:
        MLLMError: a text is empty or too long, or the size is not supported.
    """
    solver = solver or solver_of(model.vision_head.net, drawing.steps)
    by_grid: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, (text, images) in enumerate(zip(texts, sources, strict=True)):
        if not text.strip():
            raise MLLMError(
                "an empty instruction: say what to change"
                if images
                else "an empty prompt: say what to draw"
            )
        by_grid[_grid(images, drawing, model.config)].append(index)
    drawn: dict[int, Tensor] = {}
    for grid, members in by_grid.items():
        codes = _draw(
            model,
            builder,
            [texts[index] for index in members],
            [sources[index] for index in members],
            grid,
            [stream(seeds[index], "tokens") for index in members],
            drawing,
            solver,
            on_step,
        )
        drawn.update(zip(members, codes, strict=True))
    return [drawn[index] for index in range(len(texts))]


def _grid(images: Sequence[Tensor], drawing: Drawing, config: MLLMConfig) -> tuple[int, int]:
    """Rows and columns of the tokens that are drawn."""
    if drawing.height is None and images:
        return images[0].shape[1], images[0].shape[2]
    height = _SIDE if drawing.height is None else drawing.height
    width = _SIDE if drawing.width is None else drawing.width
    pictures.check_size(height, width, config)
    return height // config.downsample, width // config.downsample


@torch.no_grad()
def _draw(
    model: MLLM,
    builder: SequenceBuilder,
    texts: Sequence[str],
    sources: Sequence[Sequence[Tensor]],
    grid: tuple[int, int],
    generators: Sequence[torch.Generator],
    drawing: Drawing,
    solver: AnySolver,
    on_step: OnStep | None,
) -> list[Tensor]:
    """Draw images of one size, ``grid`` rows and columns of tokens; see ``draw``."""
    branches, weights = drawing.branches(images=any(sources))
    rows, columns = grid
    # Branch by branch, so that the solver finds the samples of a branch beside each other.
    prompts = [
        builder.drawing_prompt(
            images if branch.images else [], text if branch.text else None, rows, columns
        )
        for branch in branches
        for text, images in zip(texts, sources, strict=True)
    ]
    _check_context(model, prompts, rows * columns)
    batch = collate([[prompt] for prompt in prompts], padding="left").to(model.device)
    order = patch_order(rows, columns, model.config.patch)
    places = torch.stack([order // columns, order % columns], dim=1).to(model.device)
    cache = DynamicCache(config=model.language_model.config.get_text_config())
    hidden = model.run(model.embed(batch), batch.positions, batch.seen(), cache)
    # The prompt needed a mask for its order; from here on a step sees all before it but the
    # padding, and its own tokens, which are predicted together.
    seen = (batch.samples >= 0)[:, None, None]
    position = batch.positions[:, -1:] + 1
    weight = weights if len(weights) > 1 else (*weights, 1.0)[0]
    patch, bits = model.config.parallel_tokens, model.config.latent_channels
    offsets = torch.arange(patch, device=model.device)
    drawn: list[Tensor] = []
    finite = torch.ones(len(texts), dtype=torch.bool, device=model.device)
    for first in range(0, len(places), patch):
        targets = places[first : first + patch]
        condition = model.conditions(hidden[:, -patch:], targets)
        # Drawn on the CPU from each sample's own stream, so that a sample has the same noise on
        # every device and in every batch: it depends on its batch through rounding alone.
        noise = torch.stack(
            [torch.randn(drawing.steps + 1, patch, bits, generator=each) for each in generators],
            dim=1,
        ).to(model.device)
        solved = solver.solve(condition, noise, [weight] * len(solver.times))
        finite &= finite_rows(solved)
        drawn.append(quantize(solved).to(model.dtype))
        if on_step is not None:
            on_step(first + patch, len(places))
        if first + patch < len(places):
            # All branches continue from the same tokens.
            inputs = model.embed_codes(drawn[-1].repeat(len(branches), 1, 1), targets)
            seen = torch.cat([seen, seen.new_ones(len(seen), 1, 1, patch)], dim=-1)
            hidden = model.run(
                inputs, position + first + offsets, seen.expand(-1, -1, patch, -1), cache
            )
    check_finite(finite, "the vision head")
    tokens = torch.cat(drawn, dim=1)
    raster = torch.empty_like(tokens)
    raster[:, order.to(tokens.device)] = tokens
    return list(raster.mT.reshape(len(texts), bits, rows, columns))


def _check_context(model: MLLM, prompts: Sequence[TokenSequence], image: int) -> None:
    longest = max(len(prompt) for prompt in prompts)
    if longest + image > model.context:
        raise MLLMError(
            f"a prompt of {longest} tokens and an image of {image} exceed the model's context of "
            f"{model.context} tokens: shorten the text, or take smaller images"
        )
