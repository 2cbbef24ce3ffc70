"""What a run of the tokenizer's training takes, before it is started."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from uniwetok.losses.perceptual import STAGES, Lpips, convolutions
from uniwetok.losses.teachers import EfficientNetLiteTeacher
from uniwetok.train import TrainingError
from uniwetok.train.data.schedule import Schedule
from uniwetok.train.engine.footprint import (
    Footprint,
    Pass,
    count,
    count_flops,
    count_gathered,
    image_activations,
    step_flops,
    without_data,
)
from uniwetok.train.engine.state import run_again
from uniwetok.train.tokenizer.config import LITE_TEACHER, TokenizerTraining
from uniwetok.train.tokenizer.networks import Discriminator, Generator

_LITE_SIZE = 224
_FLOAT, _HALF = 4, 2


def measure(config: TokenizerTraining) -> Footprint:
    """Build and run a configuration's networks at its resolution.

    With several sizes of images it is that of ``data.resolution``, whose pixels every size fills.

    Raises:
        TrainingError: the teacher is unknown.
    """
    teacher, size, width = _teacher(config)
    with without_data():
        generator, discriminator = _networks(config, "cpu", width)
        if config.gradient_checkpointing:
            run_again(generator.blocks())
        flops = _step_flops(config, generator, discriminator, width)
        parameters = _parameters(generator, discriminator)
        optimised = {"generator": generator, "discriminator": discriminator}
        networks = {name: network for name, network in optimised.items() if network is not None}
        trained = {
            name: sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
            for name, network in networks.items()
        }
        gathered = count_gathered(generator, generator.blocks())
        averaged = sum(weight.numel() for weight in generator.averaged().values())
    frozen = _FLOAT * parameters.get("LPIPS (frozen)", 0)
    if teacher is not None:
        parameters["teacher (frozen)"] = count(teacher)
        frozen += (_FLOAT if config.teacher == LITE_TEACHER else _HALF) * count(teacher)
        flops["teacher"] = count_flops(
            lambda: teacher(torch.empty(1, 3, size, size, device="meta"))
        )
    with without_data():
        activations, copies = image_activations(config, lambda n: _pass(config, n, width))
    return Footprint(
        parameters=parameters,
        held={name: count(network) for name, network in networks.items()},
        trained=trained,
        averaged=averaged,
        gathered=gathered,
        frozen_bytes=frozen,
        tokens=(config.data.resolution // config.model.downsample) ** 2,
        flops=flops,
        resized=("teacher",),
        activations=activations,
        copy_bytes=copies,
        mixture=config.data.mixture,
        schedule=lambda batch, world: Schedule(
            config.data, batch_size=batch, seed=config.seed, world=world
        ),
    )


def _networks(
    config: TokenizerTraining, device: str, width: int | None
) -> tuple[Generator, Discriminator | None]:
    with torch.device(device):
        lpips = None
        if config.loss.lpips_weight:
            trunk = {}
            for name, (inputs, outputs) in convolutions().items():
                trunk[f"{name}.weight"] = torch.empty(outputs, inputs, 3, 3)
                trunk[f"{name}.bias"] = torch.empty(outputs)
            lpips = Lpips(trunk, [torch.empty(widths[-1], 1, 1) for widths in STAGES])
        generator = Generator(config, lpips, width)
        return generator, Discriminator(config) if config.loss.adversarial else None


def _inputs(
    config: TokenizerTraining, number: int, device: str, width: int | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images, noise and the teacher's embeddings."""
    side, grid = config.data.resolution, config.data.resolution // config.model.downsample
    images = torch.empty(number, config.model.in_channels, side, side, device=device)
    noise = torch.empty(number, config.model.latent_channels, grid, grid, device=device)
    return images, noise, None if width is None else torch.empty(number, width, device=device)


def _step_flops(
    config: TokenizerTraining,
    generator: Generator,
    discriminator: Discriminator | None,
    width: int | None,
) -> dict[str, int]:
    images, noise, target = _inputs(config, 1, "cpu", width)
    judge = None if discriminator is None else discriminator.network
    draws: Any = None

    def loss() -> Tensor:
        result = generator(images, noise, target, judge, draws)
        total: Tensor = result.terms.total
        return total if result.prior is None else total + result.prior

    forward, backward = step_flops(loss)
    flops = {"tokenizer and losses, forward": forward, "tokenizer and losses, backward": backward}
    if discriminator is not None:
        judged = discriminator
        flops["discriminator"] = count_flops(
            lambda: judged(images, torch.empty_like(images)).total.backward()
        )
    return flops


def _pass(config: TokenizerTraining, number: int, width: int | None) -> Pass:
    """Give the generator's forward pass on a GPU."""
    generator, discriminator = _networks(config, "cuda", width)
    judge = None if discriminator is None else discriminator.network
    modules = [generator] if discriminator is None else [generator, discriminator]
    draws: Any = None

    def run() -> None:
        images, noise, target = _inputs(config, number, "cuda", width)
        generator(images, noise, target, judge, draws)

    return Pass(modules=modules, blocks=generator.blocks(), run=run)


def _parameters(generator: Generator, discriminator: Discriminator | None) -> dict[str, int]:
    parts: dict[str, nn.Module | None] = {
        "encoder": generator.tokenizer.encoder,
        "decoder": generator.tokenizer.decoder,
        "distillation heads": generator.loss.distillation,
        "prior": generator.prior,
        "discriminator": discriminator,
    }
    counts = {name: count(part) for name, part in parts.items() if part is not None}
    if generator.loss.lpips is not None:
        counts["LPIPS (frozen)"] = sum(b.numel() for b in generator.loss.lpips.buffers())
    return counts


def _teacher(config: TokenizerTraining) -> tuple[nn.Module | None, int, int | None]:
    """Image tower without weights, side of the images it takes and length of its embeddings."""
    if config.loss.distillation is None:
        return None, 0, None
    with torch.device("meta"):
        if config.teacher == LITE_TEACHER:
            import timm

            network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
            return network.requires_grad_(False).eval(), _LITE_SIZE, EfficientNetLiteTeacher.width
        import open_clip

        card = open_clip.get_model_config(config.teacher)
        if card is None:
            raise TrainingError(
                f"teacher={config.teacher}: open_clip knows no such model; see "
                f"open_clip.list_models(), or take {LITE_TEACHER}"
            )
        # It warns that nothing was loaded, which is the intent.
        logging.disable(logging.WARNING)
        try:
            tower = open_clip.create_model(config.teacher, device="meta").visual
        finally:
            logging.disable(logging.NOTSET)
        return (
            tower.requires_grad_(False).eval(),
            card["vision_cfg"]["image_size"],
            card["embed_dim"],
        )
