"""Measure in one thread; started by `python -m benchmarks mllm`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from benchmarks.machine import headline
from benchmarks.metrics.rounds import Claim, Comparison, Outputs, Run, measure
from benchmarks.metrics.table import time_table
from benchmarks.mllm.peers import transformers_reply, uncached_images, uncached_reply
from benchmarks.mllm.small import small_assistant
from uniwetok.mllm import Assistant, Drawing, Sampling, Turn

ROUNDS = 3
NEW_TOKENS = 128
GRID, CFG, STEPS = (8, 8), 3.0, 10
OURS, GENERATE, UNCACHED = "ours", "transformers generate", "without a cache"


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    assistant = small_assistant()
    comparisons = [chat(assistant, 1), chat(assistant, 4), drawing(assistant, 2)]
    measured = [line for each in comparisons for line in measure(each, ROUNDS, "cpu")]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    parameters = sum(weight.numel() for weight in assistant.model.parameters())
    print(f"{parameters / 1e6:.1f}M parameters, {headline()}, float32, 1 thread, load {load}\n")
    print(time_table(measured))
    print(
        f"\nChat: an image of 64 tokens, a question, {NEW_TOKENS} greedy tokens a reply. Drawing: "
        f"64 tokens, guidance {CFG:g}, {STEPS} diffusion steps. CPU time."
    )
    for line in measured:
        ours, peer = 1000 / line.ours, 1000 / line.peer
        print(f"{line.claim.label}: {ours:.3g} {line.unit}s/s, {line.claim.peer} {peer:.3g}")


def chat(assistant: Assistant, rows: int) -> Comparison:
    """Replies to questions of different lengths about an image."""
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    (codes,) = assistant.encode([picture])
    turns = [[Turn("user", [codes, "What is this, and why? " * (1 + row)])] for row in range(rows)]
    sampling = Sampling(max_new_tokens=NEW_TOKENS)

    def texts(replies: list[str]) -> Outputs:
        return [np.frombuffer(text.encode(), np.uint8).astype(float) for text in replies]

    def ours() -> Outputs:
        return texts([reply.text for reply in assistant.chat(turns, sampling=sampling)])

    def theirs(reply: Callable[[Assistant, list[list[Turn]], int], Any]) -> Run:
        def run() -> Outputs:
            return texts(
                [str(assistant.text.decode(ids)) for ids in reply(assistant, turns, NEW_TOKENS)]
            )

        return run

    label = f"chat, {rows} at a time"
    return Comparison(
        unit="token",
        items=rows * NEW_TOKENS,
        variants={
            OURS: ours,
            GENERATE: theirs(transformers_reply),
            UNCACHED: theirs(uncached_reply),
        },
        claims=[Claim(label, OURS, GENERATE), Claim(label, OURS, UNCACHED)],
        absolute=True,
    )


def drawing(assistant: Assistant, rows: int) -> Comparison:
    """Images of prompts, as codes."""
    prompts = [f"A square of colour {row}" for row in range(rows)]
    seeds = list(range(rows))
    height, width = (32 * side for side in GRID)

    def ours() -> Outputs:
        codes = assistant.draw(
            prompts, seeds, Drawing(height=height, width=width, cfg=CFG, steps=STEPS)
        )
        return [torch.stack(codes).numpy()]

    def uncached() -> Outputs:
        drawn = uncached_images(assistant, prompts, seeds, GRID, cfg=CFG, steps=STEPS)
        return [drawn.numpy()]

    return Comparison(
        unit="image",
        items=rows,
        variants={OURS: ours, UNCACHED: uncached},
        claims=[Claim(f"drawing, {rows} at a time", OURS, UNCACHED)],
        absolute=True,
    )


main()
