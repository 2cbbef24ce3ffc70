"""Measure in one thread; started by `python -m benchmarks train-step`."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import headline
from benchmarks.metrics.rounds import Claim, Comparison, Line, Outputs, lines
from benchmarks.metrics.table import time_table
from benchmarks.train_step.options import SIZES, Row, parse
from benchmarks.train_step.sides import OURS, RELEASED, Lap, Sides, training
from uniwetok.train.tokenizer.config import TokenizerTraining

GOAL = 1.2
_LABELS: dict[Row, str] = {
    "whole": "whole step",
    "without-lpips": "without LPIPS",
    "without-adversarial": "without adversarial loss",
}
_LEGEND = """
CPU time; medians over rounds in turn, ratios within a round. "ours − peer": relative difference of
the losses of the first step, from the same weights, images and noise. Attention of the released
modules: a stand-in that calls PyTorch's, since flash_attn has no CPU build. VGG16: random weights.
Without the adversarial loss, the released loss's other terms are composed here.
"""


def main() -> None:
    """Print the table."""
    options = parse()
    torch.set_num_threads(1)
    config = training(SIZES[options.size], options.image, options.batch)
    measured = []
    for row in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            sides = Sides(_variant(config, row), options, Path(folder))
            measured += _measure(row, sides, options.rounds)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"training step of size {options.size}, {options.batch} x {options.image}² images: "
        f"{headline()}, float32, 1 thread, load {load}\n"
    )
    print(time_table(measured))
    print(_LEGEND)


def _variant(config: TokenizerTraining, row: Row) -> TokenizerTraining:
    loss = config.loss
    if row == "without-lpips":
        loss = replace(loss, lpips_weight=0)
    elif row == "without-adversarial":
        loss = replace(loss, adversarial=None)
    return replace(config, loss=loss)


def _measure(row: Row, sides: Sides, rounds: int) -> list[Line]:
    """Time steps in turn; of the whole step also each half."""
    laps: dict[str, list[Lap]] = {OURS: [], RELEASED: []}
    for number in range(rounds):
        for name in (OURS, RELEASED) if number % 2 == 0 else (RELEASED, OURS):
            laps[name].append(sides.step(name))
    times = {name: [1000 * lap.whole for lap in taken] for name, taken in laps.items()}
    claims = [Claim(_LABELS[row], OURS, RELEASED, GOAL if row == "whole" else None)]
    if row == "whole":
        for half in ("generator", "discriminator"):
            for name, taken in laps.items():
                times[f"{name}, {half}"] = [1000 * getattr(lap, half) for lap in taken]
            claims.append(Claim(f"  its {half} half", f"{OURS}, {half}", f"{RELEASED}, {half}"))
    agreeing = {name: _losses(sides, name) for name in (OURS, RELEASED)}
    outputs: dict[str, Outputs] = {name: agreeing[name.split(",")[0]] for name in times}
    comparison = Comparison(unit="step", items=1, variants={}, claims=claims)
    return lines(comparison, times, outputs)


def _losses(sides: Sides, name: str) -> Outputs:
    losses = sides.first[name].losses
    return [np.array([losses[key]]) for key in ("loss", "discriminator") if key in losses]


main()
