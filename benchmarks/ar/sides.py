"""Both sides of each comparison: the same weights, classes and noise."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.ar.options import SIZES, Options
from benchmarks.ar.released import ReleasedTraining, build
from benchmarks.metrics.rounds import Outputs
from uniwetok.ar import BitDance, Guidance, sample
from uniwetok.ar.config import BitDanceConfig
from uniwetok.randomness import stream_seed
from uniwetok.tokenizer import quantizer
from uniwetok.train.ar.config import ARTraining, released_optimizer
from uniwetok.train.ar.trainer import ARTrainer
from uniwetok.train.codes.stream import CodeBatch
from uniwetok.train.engine.optimizers import learning_rate

OURS, RELEASED = "ours", "released"
_SEED = 3

Draw = Callable[[], Tensor]
Step = Callable[[int], dict[str, float]]
"""Takes the number of the step, gives its loss and the norm of its gradients."""


def awake(model: BitDance) -> BitDance:
    """Draw the weights that start at zero, without which every bit of a sample is its noise's."""
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.any():
                weight.normal_(std=0.02, generator=generator)
    return model


def random_model(size: str) -> BitDance:
    """Build a model of a size with random weights, for sampling."""
    torch.manual_seed(_SEED)
    return awake(BitDance(SIZES[size])).eval()


def labels_of(count: int, config: BitDanceConfig) -> Tensor:
    """Give different classes, as many as there are."""
    return torch.arange(count) * 7 % config.classes


def samplers(options: Options) -> dict[str, Draw]:
    """Draw images with either; ours in the released order of noise."""
    ours = random_model(options.size)
    assert options.bitdance is not None
    released = build(options.bitdance, ours.config, compiled=options.compiled)
    released.load_state_dict(ours.state_dict())
    labels = labels_of(options.images, ours.config)

    def draw_released() -> Tensor:
        torch.manual_seed(_SEED)
        drawn: Tensor = released.sample(labels, options.steps, options.cfg)
        return drawn

    def draw_ours() -> Tensor:
        return sample(
            ours,
            labels,
            torch.Generator().manual_seed(_SEED),
            guidance=Guidance(scale=options.cfg),
            steps=options.steps,
            streams="released",
        )

    return {OURS: draw_ours, RELEASED: draw_released}


def trainings(options: Options) -> dict[str, Step]:
    """Train either on the same codes, from the same weights, with the same noise."""
    config = ARTraining(
        model=SIZES[options.size],
        optimizer=released_optimizer(),
        batch_size=options.batch,
        precision="float32",
    )
    ours = ARTrainer(config, "random", device="cpu")
    awake(ours.model)
    for name, weight in ours.model.named_parameters():
        ours.ema.averages[name].copy_(weight.detach())
    assert options.bitdance is not None
    released = build(options.bitdance, config.model, compiled=options.compiled)
    released.load_state_dict(ours.model.state_dict())
    theirs = ReleasedTraining(released, config)
    grid = (options.batch, config.model.latent_channels, config.model.grid, config.model.grid)
    codes = torch.randn(grid, generator=torch.Generator().manual_seed(_SEED)).sign()
    labels = labels_of(options.batch, config.model)
    rows = [torch.frombuffer(bytearray(row), dtype=torch.uint8) for row in quantizer.pack(codes)]
    batch = CodeBatch(torch.stack(rows), labels)

    def step_released(number: int) -> dict[str, float]:
        # The stream that our step of this number draws from.
        seed = stream_seed(config.seed, "step", number, 0)
        rate = learning_rate(config.optimizer, number, config.steps)
        return theirs.step(codes, labels, seed, rate)

    def step_ours(number: int) -> dict[str, float]:
        ours.step(batch, number)
        return ours.averages()

    return {OURS: step_ours, RELEASED: step_released}


def drawing(size: str, images: int, steps: int) -> Callable[[], Outputs]:
    """Prepare guided sampling, for its memory; what is loaded at first use is loaded."""
    model = random_model(size)
    draw = functools.partial(own_samples, model, steps=steps)
    own_samples(model, [0], steps=1)

    def work() -> Outputs:
        return [draw(list(range(images))).numpy()]

    return work


def own_samples(model: BitDance, numbers: list[int], *, steps: int, cfg: float = 3.0) -> Tensor:
    """Draw samples of these numbers, each from its own class and stream."""
    return sample(
        model,
        torch.tensor(numbers) * 7 % model.config.classes,
        [torch.Generator().manual_seed(number) for number in numbers],
        guidance=Guidance(scale=cfg),
        steps=steps,
    )
