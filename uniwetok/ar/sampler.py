"""Drawing images' codes: the transformer token by token, the diffusion head within each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from uniwetok.ar import inputs
from uniwetok.ar.guidance import Guidance
from uniwetok.ar.model import BitDance
from uniwetok.ar.solver import AnySolver, solver_of
from uniwetok.ar.transformer import KeyValueCache, to_codes
from uniwetok.fields import check_count
from uniwetok.tokenizer.quantizer import check_finite, finite_rows, quantize

Streams = Literal["per-sample", "released"]


@torch.no_grad()
def sample(
    model: BitDance,
    labels: Tensor,
    generators: torch.Generator | Sequence[torch.Generator],
    *,
    guidance: Guidance | None = None,
    steps: int = 100,
    streams: Streams = "per-sample",
    solver: AnySolver | None = None,
) -> Tensor:
    """Draw one image's codes for each label.

    All noise is drawn on the CPU, so that it is the same on every device, and with per-sample
    streams a sample's noise does not depend on the others of its batch. Its codes may, but only
    through rounding, which in matrix products depends on the number of rows: a bit whose prediction
    is within rounding of zero can change, and what is drawn after it. That is rare (no bit of
    three images of a random UniWeTok-B, drawn together and alone on a CPU). Draw samples one at a
    time where they must be the same for certain.

    Args:
        model: in evaluation mode; it works in the precision and on the device of its weights.
        labels: (batch,) int64 class indices.
        generators: CPU generators, one for each sample; a single one for released streams.
        guidance: None for none.
        steps: noisy diffusion steps a token; the head is run once more than that.
        streams: ``per-sample`` draws for each step of the image (steps + 1, tokens, bits) from
            each sample's generator. ``released`` draws in the order of the released sampler,
            the whole batch at a time.
        solver: of the head's network with so many steps, where it is kept from one batch to the
            next, as ``solver_of`` makes it.

    Returns:
        (batch, latent_channels, grid, grid) +1 or -1, as the tokenizer decodes them, in the dtype
        and on the device of the model.

    Raises:
        TypeError: ``labels`` are not int64.
        ValueError: a label is not a class, ``steps`` is below 1, the generators do not fit, what
            the head draws is not finite, or guidance is asked of a model that was trained without
            the null class.
    """
    config = model.config
    guidance = guidance or Guidance()
    inputs.check_labels(labels, config)
    inputs.check_generators(generators, len(labels), streams)
    check_count("steps", steps)
    guided = guidance.scale != 1
    if guided and not config.label_dropout:
        raise ValueError(
            f"guidance of scale {guidance.scale} needs the null class, which a model with "
            f"label_dropout=0 never learned; use scale 1"
        )
    labels = labels.to(model.device)
    batch = len(labels)
    null = torch.full_like(labels, config.classes)
    rows = torch.cat([labels, null]) if guided else labels
    table = model.rotary_table()
    solver = solver or solver_of(model.head.net, steps)
    if len(solver.times) != steps + 1:
        raise ValueError(f"the solver takes {len(solver.times) - 1} steps, not {steps}")
    condition, cache = _start(model, rows, table)
    drawn: list[Tensor] = []
    # Looked at once, at the end: a GPU would have to be waited for at every step.
    finite = torch.ones(batch, dtype=torch.bool, device=model.device)
    for step in range(config.steps):
        weights = [guidance.weight(step, config.steps, time) for time in solver.times]
        # Released: where the first step is unguided, the null rows draw a first token of their own
        # and keep it in their context; later tokens are always those of the image.
        apart = guided and not step and set(weights) == {1} and guidance.first_token == "released"
        shape = (2 * batch if apart else batch, config.parallel_tokens, config.latent_channels)
        noise = _draw_noise(generators, steps + 1, shape, batch).to(model.device)
        solved = solver.solve(condition, noise, weights)
        finite &= finite_rows(solved[:batch])
        bits = quantize(solved).to(model.dtype)
        drawn.append(bits[:batch])
        if step < config.steps - 1:
            condition = model.advance(bits.repeat(len(rows) // len(bits), 1, 1), table, cache)
    check_finite(finite, "the diffusion head")
    return to_codes(torch.cat(drawn, dim=1), config)


def _start(model: BitDance, rows: Tensor, table: Tensor) -> tuple[Tensor, KeyValueCache]:
    """Run the class tokens of each different class once, and copy them to the rows."""
    # A batch often has one class many times, and with guidance half of its rows are the null class.
    config = model.config
    classes, of_row = torch.unique(rows, return_inverse=True)
    prefix = KeyValueCache(config, len(classes), config.prefix, model.norm.weight)
    condition = model.prefill(classes, table, prefix)[of_row]
    cache = KeyValueCache(config, len(rows), config.sequence, model.norm.weight)
    cache.fill_from(prefix, of_row)
    return condition, cache


def _draw_noise(
    generators: torch.Generator | Sequence[torch.Generator],
    evaluations: int,
    shape: tuple[int, int, int],
    batch: int,
) -> Tensor:
    """Draw (evaluations, *shape) float32; shape's rows are the batch, or the batch twice."""
    if isinstance(generators, torch.Generator):
        # One call each, since a single larger one draws other numbers where a call's size is not
        # a multiple of 16.
        return torch.stack([torch.randn(shape, generator=generators) for _ in range(evaluations)])
    rows, *token = shape
    halves = rows // batch
    draws = [torch.randn(evaluations, halves, *token, generator=each) for each in generators]
    return torch.stack(draws, dim=2).flatten(1, 2)
