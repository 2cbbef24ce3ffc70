"""A run of the class-to-image model's training that is small enough for tests."""

from __future__ import annotations

import torch

from tests.uniwetok.ar.toys import tiny
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig
from uniwetok.train.ar.config import ARTraining, CodesConfig
from uniwetok.train.engine.settings import OptimizerConfig

TINY_AR = ARTraining(
    model=tiny(),
    optimizer=OptimizerConfig(
        learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.05, max_gradient_norm=1.0
    ),
    data=CodesConfig(resolution=16, views=2, workers=0),
    batch_size=4,
    steps=6,
    precision="float32",
    compile=False,
    log_every=2,
    checkpoint_every=2,
    grid_every=0,
)
"""4x4 tokens of 16 bits, for images of 16 pixels under `tiny_tokenizer`."""


def tiny_tokenizer(seed: int = 0) -> UniWeTok:
    """A tokenizer of 16 bits for 4x4 pixels, each of which is set for about half of all images."""
    torch.manual_seed(seed)
    tokenizer = UniWeTok(
        UniWeTokConfig(
            channels=32,
            channel_multipliers=(1, 1, 1),
            num_res_blocks=1,
            attention_blocks=1,
            heads=2,
            latent_channels=16,
            groups=2,
        )
    ).eval()
    last = tokenizer.encoder.conv_out
    means: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda *given: means.append(given[-1].mean((0, 2, 3))))
    colours = torch.rand(64, 3, 1, 1) * 2 - 1
    tokenizer.encode((colours + 0.3 * torch.randn(64, 3, 16, 16)).clamp(-1, 1))
    hook.remove()
    with torch.no_grad():
        last.bias.sub_(means[0])
    return tokenizer
