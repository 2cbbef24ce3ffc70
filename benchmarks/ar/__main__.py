"""Measure in one thread; started by `python -m benchmarks ar`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.ar.options import SIZES, Options, parse
from benchmarks.ar.sides import (
    OURS,
    RELEASED,
    drawing,
    own_samples,
    random_model,
    samplers,
    trainings,
)
from benchmarks.machine import headline
from benchmarks.metrics.memory import peak_growth
from benchmarks.metrics.rounds import Claim, Comparison, Line, Outputs, clock, lines
from benchmarks.metrics.table import time_table

_FASTER_SAMPLING, _FASTER_TRAINING = 1.3, 1.2
"""Goals."""
_IMAGES_OF_MEMORY = (1, 2, 4, 8)
_STEPS_OF_MEMORY = (4, 100)
_TOGETHER = 4
_LEGEND = """
CPU time; medians over rounds in turn after one to warm up, ratios within a round. "ours − peer":
relative difference of the codes drawn, and of the first step's loss and norm of gradients, from the
same weights and noise; – where compiling changes the peer's noise. Attention of the released
training: a stand-in that calls PyTorch's, since flash_attn has no CPU build. Codes are given.
"""


def main() -> None:
    """Print the tables."""
    options = parse()
    torch.set_num_threads(1)
    measured: list[Line] = []
    if "sampling" in options.rows:
        measured += _sampling(options)
    if "training" in options.rows:
        measured += _training(options)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"size {options.size}: {headline()}, float32, 1 thread, load {load}\n")
    if measured:
        print(time_table(measured))
        print(_LEGEND)
    if "memory" in options.rows:
        _memory(options)
    if "batches" in options.rows:
        _batches(options)


def _sampling(options: Options) -> list[Line]:
    draws = samplers(options)
    label = (
        f"sampling {options.images} images, {SIZES[options.size].tokens} tokens, "
        f"{options.steps} steps, CFG {options.cfg:g}"
    )
    codes = {name: draw() for name, draw in draws.items()}
    outputs = {name: [value.numpy()] for name, value in codes.items()}
    runs = {name: _ignoring_number(draw) for name, draw in draws.items()}
    return _line(label, "image", options, runs, outputs, _FASTER_SAMPLING, options.images)


def _training(options: Options) -> list[Line]:
    steps = trainings(options)
    first = {name: step(0) for name, step in steps.items()}
    outputs = {
        name: [np.array([values[key]]) for key in ("loss", "gradient_norm")]
        for name, values in first.items()
    }
    label = f"training step, {options.batch} images"
    return _line(label, "step", options, steps, outputs, _FASTER_TRAINING, 1)


def _line(
    label: str,
    unit: str,
    options: Options,
    runs: Mapping[str, Callable[[int], object]],
    outputs: Mapping[str, Outputs],
    goal: float,
    items: int,
) -> list[Line]:
    """Time warm runs in turn; they are numbered from 1."""
    peer = "released, compiled" if options.compiled else RELEASED
    times: dict[str, list[float]] = {OURS: [], peer: []}
    for number in range(1, options.rounds + 1):
        for name in (OURS, peer) if number % 2 else (peer, OURS):
            before = clock("cpu")
            runs[OURS if name == OURS else RELEASED](number)
            times[name].append(1000 * (clock("cpu") - before) / items)
    returned = {OURS: outputs[OURS], peer: [] if options.compiled else outputs[RELEASED]}
    claim = Claim(label, OURS, peer, goal)
    return lines(Comparison(unit, items, {}, [claim]), times, returned)


def _ignoring_number(draw: Callable[[], Any]) -> Callable[[int], Any]:
    return lambda _: draw()


def _memory(options: Options) -> None:
    """Print the peak of guided sampling by images and by diffusion steps."""
    print("| memory that sampling adds at its peak, MB | images | steps |\n| --- | --- | --- |")
    few, many = _STEPS_OF_MEMORY
    asked = [(images, few) for images in _IMAGES_OF_MEMORY] + [(_IMAGES_OF_MEMORY[0], many)]
    for images, steps in asked:
        growth = peak_growth(drawing, options.size, images, steps)
        print(f"| {growth:.0f} | {images} | {steps} |", flush=True)
    print()


def _batches(options: Options) -> None:
    """Print how many bits of samples drawn together differ from those drawn alone."""
    model = random_model(options.size)
    numbers = list(range(_TOGETHER))
    together = own_samples(model, numbers, steps=options.steps, cfg=options.cfg)
    alone = [
        own_samples(model, [number], steps=options.steps, cfg=options.cfg) for number in numbers
    ]
    differing = int((together != torch.cat(alone)).sum())
    print(
        f"{_TOGETHER} images drawn together and alone: {differing} of {together.numel():,} bits "
        f"differ"
    )


main()
