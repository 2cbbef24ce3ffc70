"""The same work as plain loops over `transformers`: its own `generate`, and no cache at all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from uniwetok.ar.solver import Solver
from uniwetok.mllm import Assistant, Turn, collate
from uniwetok.mllm.chat import vocabulary
from uniwetok.randomness import stream


def banned(assistant: Assistant) -> list[int]:
    """Tokens that a reply never has."""
    found: list[int] = vocabulary(assistant.model, assistant.builder)[0].nonzero()[:, 0].tolist()
    return found


@torch.no_grad()
def transformers_reply(
    assistant: Assistant, turns: Sequence[Sequence[Turn]], tokens: int
) -> Tensor:
    """Reply with the language model's `generate`, (rows, tokens)."""
    model = assistant.model
    prompts = [[assistant.builder.chat_prompt(each)] for each in turns]
    batch = collate(prompts, padding="left")
    replies: Tensor = model.language_model.generate(
        inputs_embeds=model.embed(batch),
        attention_mask=(batch.samples >= 0).long(),
        max_new_tokens=tokens,
        do_sample=False,
        suppress_tokens=banned(assistant),
        pad_token_id=0,
    )
    return replies


@torch.no_grad()
def uncached_reply(
    assistant: Assistant, turns: Sequence[Sequence[Turn]], tokens: int
) -> list[list[int]]:
    """Reply with the whole sequence run anew for each token, one conversation after the other."""
    model, never = assistant.model, banned(assistant)
    replies: list[list[int]] = []
    for each in turns:
        inputs = model.embed(collate([[assistant.builder.chat_prompt(each)]]))
        ids: list[int] = []
        for _ in range(tokens):
            positions = torch.arange(inputs.shape[1])[None]
            scores = model.logits(model.run(inputs, positions, None)[0, -1])
            scores[never] = -torch.inf
            ids.append(int(scores.argmax()))
            inputs = torch.cat([inputs, model.table(torch.tensor([ids[-1:]]))], dim=1)
        replies.append(ids)
    return replies


@torch.no_grad()
def uncached_images(
    assistant: Assistant,
    prompts: Sequence[str],
    seeds: Sequence[int],
    grid: tuple[int, int],
    *,
    cfg: float,
    steps: int,
) -> Tensor:
    """Draw images with the whole sequence run anew for each token, (rows, bits, tokens)."""
    model, bits = assistant.model, assistant.model.config.latent_channels
    solver = Solver(model.vision_head.net, steps)
    generators = [stream(seed, "tokens") for seed in seeds]
    codes = torch.ones(len(prompts), bits, *grid)
    count = grid[0] * grid[1]
    for place in range(count):
        sequences = [
            [assistant.builder.editing([], text, each)]
            for guided in (True, False)
            for text, each in zip(prompts if guided else [None] * len(prompts), codes, strict=True)
        ]
        output = model.outputs(collate(sequences))
        condition = output.conditions.view(len(sequences), count, -1)[:, place : place + 1]
        noise = torch.stack(
            [torch.randn(steps + 1, 1, bits, generator=each) for each in generators], dim=1
        )
        drawn = solver.solve(condition, noise, [cfg] * len(solver.times))
        codes.flatten(2)[:, :, place] = drawn[:, 0].sign()
    return codes
