"""Both sides of the comparison: the same weights, images and noise."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.metrics.rounds import clock
from benchmarks.train_step.options import Options
from benchmarks.train_step.released import ReleasedStep
from uniwetok.losses.config import TokenizerLossConfig
from uniwetok.losses.perceptual import convolutions
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train.data.config import DataConfig
from uniwetok.train.data.stream import Batch
from uniwetok.train.tokenizer.config import TokenizerTraining
from uniwetok.train.tokenizer.trainer import TokenizerTrainer

OURS, RELEASED = "ours", "released"
_WARM_UP = 2
_AUTOENCODER, _DISCRIMINATOR, _VGG16 = "autoencoder.pt", "discriminator.pt", "vgg16.pt"

Mark = Callable[[], None]
Step = Callable[[int, Mark], dict[str, float]]
"""Takes the number of the step and what to call before and after the discriminator's half."""


@dataclass(frozen=True)
class Lap:
    """What one step took, in CPU seconds, and its losses by name."""

    whole: float
    discriminator: float
    losses: dict[str, float]

    @property
    def generator(self) -> float:
        """The step less the discriminator's half."""
        return self.whole - self.discriminator


def training(model: UniWeTokConfig, image: int, batch: int) -> TokenizerTraining:
    """Configure a run with all losses that are released, at their released weights."""
    return TokenizerTraining(
        model=model,
        loss=TokenizerLossConfig(commitment_weight=0.25, distillation=None),
        prior=None,
        data=DataConfig(resolution=image, workers=0),
        batch_size=batch,
        precision="float32",
    )


class Sides:
    """Trains either side step by step, building it when its turn comes.

    Attributes:
        first: the very first step of each side.
    """

    def __init__(self, config: TokenizerTraining, options: Options, folder: Path) -> None:
        """Draw images and write the first weights of both.

        Args:
            config: of the run.
            options: where the released code is, and whether both sides fit into memory.
            folder: for the weights.
        """
        self._config, self._options, self._folder = config, options, folder
        self._built: dict[str, tuple[Step, int]] = {}
        self.first: dict[str, Lap] = {}
        side = config.data.resolution
        generator = torch.Generator().manual_seed(0)
        self._images = 2 * torch.rand(config.batch_size, 3, side, side, generator=generator) - 1
        torch.save(_random_vgg16(generator), folder / _VGG16)
        networks = self._trainer().networks
        torch.save({"state_dict": networks.generator.tokenizer.state_dict()}, folder / _AUTOENCODER)
        if networks.discriminator is not None:
            torch.save(networks.discriminator.network.state_dict(), folder / _DISCRIMINATOR)

    def step(self, name: str) -> Lap:
        """Take the next step of a side, after building it and two to warm up if it is new."""
        if name not in self._built:
            if self._options.one_at_a_time:
                self._built.clear()
                gc.collect()
            step = self._ours() if name == OURS else self._released()
            # The second still takes memory from the system that no later one does.
            laps = [_lap(step, number) for number in range(_WARM_UP)]
            self.first.setdefault(name, laps[0])
            self._built[name] = (step, _WARM_UP)
        step, number = self._built[name]
        self._built[name] = (step, number + 1)
        return _lap(step, number)

    def _trainer(self) -> TokenizerTrainer:
        return TokenizerTrainer(self._config, device="cpu", vgg16=self._folder / _VGG16)

    def _ours(self) -> Step:
        trainer = self._trainer()
        batch = Batch(self._images, [], None, 0)

        def step(number: int, mark: Mark) -> dict[str, float]:
            trainer.step(batch, number)
            mark()
            return trainer.averages()

        discriminator = trainer.networks.discriminator
        if discriminator is None:
            return step

        def marked(number: int, mark: Mark) -> dict[str, float]:
            hook = discriminator.register_forward_pre_hook(lambda *_: mark())
            try:
                return step(number, mark)
            finally:
                hook.remove()

        return marked

    def _released(self) -> Step:
        released = ReleasedStep(
            self._config,
            self._options.bitdance,
            self._options.wetok,
            self._folder / _AUTOENCODER,
            self._folder / _DISCRIMINATOR,
            self._folder / _VGG16,
        )
        return functools.partial(released.step, self._images)


def _lap(step: Step, number: int) -> Lap:
    marks: list[float] = []
    start = clock("cpu")
    losses = step(number, lambda: marks.append(clock("cpu")))
    whole = clock("cpu") - start
    return Lap(whole, marks[1] - marks[0] if len(marks) > 1 else 0.0, losses)


def _random_vgg16(generator: torch.Generator) -> dict[str, Tensor]:
    """Draw weights that keep the features' size from layer to layer."""
    weights = {}
    for name, (inputs, outputs) in convolutions().items():
        scale = (2 / (9 * inputs)) ** 0.5
        weights[f"{name}.weight"] = scale * torch.randn(outputs, inputs, 3, 3, generator=generator)
        weights[f"{name}.bias"] = torch.zeros(outputs)
    return weights
