"""Drawing an image's codes: the language model patch by patch, the diffusion head within each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from uniwetok.ar.inputs import check_steps
from uniwetok.ar.solver import Solver
from uniwetok.ar.transformer import patch_order
from uniwetok.mllm.batch import collate
from uniwetok.mllm.errors import MLLMError
from uniwetok.tokenizer.quantizer import quantize

if TYPE_CHECKING:
    from uniwetok.mllm.guidance import Guidance
    from uniwetok.mllm.layout import SequenceBuilder, TokenSequence
    from uniwetok.mllm.model import MLLM

OnStep = Callable[[int, int], None]


@torch.no_grad()
def draw(
    model: MLLM,
    builder: SequenceBuilder,
    texts: Sequence[str],
    sources: Sequence[Sequence[Tensor]],
    grid: tuple[int, int],
    generators: Sequence[torch.Generator],
    *,
    guidance: Guidance,
    steps: int,
    on_step: OnStep | None = None,
) -> list[Tensor]:
    """Draw one image for each text.

    All noise is drawn on the CPU from the samples' own generators: (steps + 1, parallel_tokens,
    bits) a step of the image. So a sample depends on its batch through rounding alone.

    Args:
        model: in evaluation mode.
        builder: with the model's tokens.
        texts: captions or instructions.
        sources: codes of each one's source images; empty to draw from text alone.
        grid: rows and columns of tokens that are drawn.
        generators: CPU generators, one a text.
        guidance: see there.
        steps: noisy diffusion steps of each step; the head is run once more than that.
        on_step: called with the tokens drawn and their number in all.

    Returns:
        (latent_channels, rows, columns) each, +1 or -1, in the dtype of the model.

    Raises:
        MLLMError: an image with its prompt is longer than the model's context.
        ValueError: ``steps`` is below 1.
    """
    check_steps(steps)
    branches, weights = guidance.plan(images=any(sources))
    rows, columns = grid
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
    seen = (batch.samples >= 0)[:, None, None]
    position = batch.positions[:, -1:] + 1
    solver = Solver(model.vision_head.net, steps)
    weight = weights if len(weights) > 1 else (*weights, 1.0)[0]
    patch, bits = model.config.parallel_tokens, model.config.latent_channels
    offsets = torch.arange(patch, device=model.device)
    drawn: list[Tensor] = []
    for first in range(0, len(places), patch):
        targets = places[first : first + patch]
        condition = model.conditions(hidden[:, -patch:], targets)
        noise = torch.stack(
            [torch.randn(steps + 1, patch, bits, generator=each) for each in generators], dim=1
        ).to(model.device)
        solved = solver.solve(condition, noise, [weight] * len(solver.times))
        drawn.append(quantize(solved).to(model.dtype))
        if on_step is not None:
            on_step(first + patch, len(places))
        if first + patch < len(places):
            inputs = model.embed_codes(drawn[-1].repeat(len(branches), 1, 1), targets)
            seen = torch.cat([seen, seen.new_ones(len(seen), 1, 1, patch)], dim=-1)
            hidden = model.run(
                inputs, position + first + offsets, seen.expand(-1, -1, patch, -1), cache
            )
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
