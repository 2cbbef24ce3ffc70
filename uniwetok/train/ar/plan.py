"""What a run of the class-to-image model takes, before it is started."""

from __future__ import annotations

import torch

from uniwetok.ar.model import BitDance
from uniwetok.train.ar.config import ARTraining
from uniwetok.train.ar.trainer import blocks
from uniwetok.train.engine.footprint import (
    Footprint,
    Pass,
    count_gathered,
    image_activations,
    step_flops,
    without_data,
)
from uniwetok.train.engine.state import run_again


def measure(config: ARTraining) -> Footprint:
    """Build and run a configuration's model on codes that are there; encoding is not counted."""
    with without_data():
        model = BitDance(config.model)
        if config.gradient_checkpointing:
            run_again(blocks(model))
        forward, backward = step_flops(lambda: _loss(model, 1, "cpu"))
        parameters = dict.fromkeys(("class embedding", "transformer", "diffusion head"), 0)
        for name, weight in model.named_parameters():
            parameters[_part(name)] += weight.numel()
        activations, copies = image_activations(config, lambda images: _pass(config, images))
    total = sum(parameters.values())
    return Footprint(
        parameters=parameters,
        held={"model": total},
        trained={"model": total},
        averaged=total,
        gathered=count_gathered(model, blocks(model)),
        tokens=config.model.tokens,
        flops={"forward": forward, "backward": backward},
        activations=activations,
        copy_bytes=copies,
        mixture=config.data.mixture,
    )


def _part(name: str) -> str:
    if name.startswith("cls_embedding"):
        return "class embedding"
    return "diffusion head" if name.startswith("head.") else "transformer"


def _loss(model: BitDance, images: int, device: str) -> torch.Tensor:
    config = model.config
    codes = torch.ones(images, config.latent_channels, config.grid, config.grid, device=device)
    return model.objective(codes, torch.zeros(images, dtype=torch.int64, device=device))


def _pass(config: ARTraining, images: int) -> Pass:
    with torch.device("cuda"):
        model = BitDance(config.model)
    return Pass(modules=[model], blocks=blocks(model), run=lambda: _loss(model, images, "cuda"))
