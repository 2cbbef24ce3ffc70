"""Sizes, work and memory of a training run's networks, found without their weights or a GPU.

The networks are built and run on tensors that have shapes but no data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from uniwetok.losses.perceptual import Lpips, convolutions
from uniwetok.losses.teachers import EfficientNetLiteTeacher
from uniwetok.train import TrainingError
from uniwetok.train.tokenizer.config import LITE_TEACHER, TokenizerTraining
from uniwetok.train.tokenizer.networks import Discriminator, Generator

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_LITE_SIZE = 224


@dataclass(frozen=True)
class Footprint:
    """What one run's networks are and cost; of one image where not said otherwise."""

    parameters: dict[str, int]
    """Of every network, the frozen ones too."""
    trained: dict[str, int]
    """Parameters that "generator" and "discriminator" train."""
    averaged: int
    """Parameters that a moving average is kept of."""
    flops: dict[str, int]
    """Of one step, forward and backward, by network; a multiplication with its addition is two."""
    activation_bytes: int
    """Kept of an image from the forward to the backward pass of the generator, on a GPU."""
    copy_bytes: int
    """Kept of the weights there: their copies in half precision."""


def measure(config: TokenizerTraining) -> Footprint:
    """Build and run a configuration's networks at its resolution.

    Raises:
        TrainingError: the teacher is unknown.
    """
    teacher, size, width = _teacher(config)
    with FakeTensorMode(allow_non_fake_inputs=True):
        generator, discriminator = _networks(config, "cpu", width)
        flops = _step_flops(config, generator, discriminator, width)
        parameters = _parameters(generator, discriminator)
        trained = {"generator": _trained(generator)}
        if discriminator is not None:
            trained["discriminator"] = _trained(discriminator)
        averaged = sum(weight.numel() for weight in generator.averaged().values())
    if teacher is not None:
        parameters["teacher (frozen)"] = _count(teacher)
        flops["teacher"] = _teacher_flops(teacher, size)
    with FakeTensorMode(allow_non_fake_inputs=True):
        one, two = (_kept_bytes(config, count, width) for count in (1, 2))
    return Footprint(parameters, trained, averaged, flops, two - one, 2 * one - two)


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
            lpips = Lpips(trunk)
            # Those it reads from a file lie on a device of their own.
            for name, buffer in list(lpips.named_buffers()):
                lpips.register_buffer(name, torch.empty(buffer.shape), persistent=False)
        generator = Generator(config, lpips, width)
        return generator, Discriminator(config) if config.loss.adversarial else None


def _inputs(
    config: TokenizerTraining, count: int, device: str, width: int | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images, noise and the teacher's embeddings."""
    side, grid = config.data.resolution, config.data.resolution // config.model.downsample
    images = torch.empty(count, config.model.in_channels, side, side, device=device)
    noise = torch.empty(count, config.model.latent_channels, grid, grid, device=device)
    return images, noise, None if width is None else torch.empty(count, width, device=device)


def _step_flops(
    config: TokenizerTraining,
    generator: Generator,
    discriminator: Discriminator | None,
    width: int | None,
) -> dict[str, int]:
    images, noise, target = _inputs(config, 1, "cpu", width)
    judge = None if discriminator is None else discriminator.network
    draws: Any = None
    losses: list[Tensor] = []

    def forward() -> None:
        result = generator(images, noise, target, judge, draws)
        total = result.terms.total
        losses.append(total if result.prior is None else total + result.prior)

    flops = {
        "tokenizer and losses, forward": count_flops(forward),
        "tokenizer and losses, backward": count_flops(
            lambda: torch.autograd.backward(losses.pop())
        ),
    }
    if discriminator is not None:
        judged = discriminator
        flops["discriminator"] = count_flops(
            lambda: judged(images, torch.empty_like(images)).total.backward()
        )
    return flops


def count_flops(run: Callable[[], object]) -> int:
    """Count the products of a pass on tensors without data; with its addition one is two.

    Attention counts as its two plain products, Q K^T and P V. Which fused kernel torch would take
    depends on the processor, and torch's counter knows only some of them: it would leave
    attention out on one machine and not on another.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    flops: int = counter.get_total_flops()
    return flops


def _kept_bytes(config: TokenizerTraining, count: int, width: int | None) -> int:
    """Memory that the generator's forward pass leaves for its backward pass on a GPU."""
    generator, discriminator = _networks(config, "cuda", width)
    judge = None if discriminator is None else discriminator.network
    modules = [generator] if discriminator is None else [generator, discriminator]
    draws: Any = None

    def run() -> None:
        images, noise, target = _inputs(config, count, "cuda", width)
        generator(images, noise, target, judge, draws)

    return kept_bytes(modules, config.precision, run)


def kept_bytes(modules: Sequence[nn.Module], precision: str, run: Callable[[], None]) -> int:
    """Count what a forward pass leaves for its backward pass on a GPU, weights aside.

    Args:
        modules: whose weights are not counted; on the fake device "cuda".
        precision: of the pass.
        run: makes the pass.
    """
    own = {
        tensor.untyped_storage()._cdata
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    # Keeping the storages, not their addresses alone, stops addresses from being used again.
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with (
        _autocast(_HALF.get(precision)),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        run()
    return sum(storage.nbytes() for address, storage in kept.items() if address not in own)


@contextmanager
def _autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """CUDA's autocast, which `torch.autocast` refuses on a machine without a GPU."""
    if dtype is None:
        yield
        return
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


def _parameters(generator: Generator, discriminator: Discriminator | None) -> dict[str, int]:
    parts: dict[str, nn.Module | None] = {
        "encoder": generator.tokenizer.encoder,
        "decoder": generator.tokenizer.decoder,
        "distillation heads": generator.loss.distillation,
        "prior": generator.prior,
        "discriminator": discriminator,
    }
    counts = {name: _count(part) for name, part in parts.items() if part is not None}
    if generator.loss.lpips is not None:
        counts["LPIPS (frozen)"] = sum(b.numel() for b in generator.loss.lpips.buffers())
    return counts


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _trained(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


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


def _teacher_flops(teacher: nn.Module, size: int) -> int:
    return count_flops(lambda: teacher(torch.empty(1, 3, size, size, device="meta")))
