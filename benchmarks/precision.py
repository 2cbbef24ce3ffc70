"""What each `model_precision` of a protocol moves: codes, pixels and speed of a tokenizer.

Without a GPU, TF32 is imitated: the inputs of convolutions and linear layers are rounded to 10 bits
of mantissa, which is what the hardware does before it multiplies; attention's products are left as
they are, and the speed says nothing. With one, the paper's size is measured too, untrained.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.machine import headline
from harness.data.images import to_float
from harness.engine.world import model_arithmetic, reproducible
from tasks.recon.task import IMAGENET_RECON
from uniwetok.nano import WEIGHTS
from uniwetok.tokenizer import UniWeTok

if TYPE_CHECKING:
    from harness.interfaces.protocols import ModelPrecision

IMAGES = 16
PRECISIONS: tuple[ModelPrecision, ...] = ("fp32", "tf32", "bf16", "fp16")
_TF32_DROPS = 13
"""Bits of a float32 mantissa beyond TF32's 10."""


@dataclass(frozen=True)
class Outcome:
    """What a tokenizer gave in one precision."""

    codes: Tensor
    """Signs (n, 128, 8, 8)."""
    images: Tensor
    """float32 (n, 3, 256, 256) in [-1, 1]."""
    speed: float
    """Images a second, encoded and decoded one after the other."""


def rounded_to_tf32(values: Tensor) -> Tensor:
    """float32 rounded to TF32's mantissa, half away from zero."""
    half = 1 << (_TF32_DROPS - 1)
    kept = (values.view(torch.int32) + half) & -(1 << _TF32_DROPS)
    return kept.view(torch.float32)


def imitated_tf32(network: UniWeTok) -> UniWeTok:
    """A copy of the network whose convolutions and linear layers multiply as TF32 does."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data = rounded_to_tf32(module.weight.data)
            module.register_forward_pre_hook(lambda _, given: (rounded_to_tf32(given[0]),))
    return network


def outcome(network: UniWeTok, images: Tensor, device: str, precision: ModelPrecision) -> Outcome:
    """Encode and decode the images one by one, with the same noise in every precision."""
    used = imitated_tf32(network) if (precision, device) == ("tf32", "cpu") else network
    start = time.perf_counter()
    codes, decoded = [], []
    for number, image in enumerate(images.to(device).split(1)):
        with torch.inference_mode(), model_arithmetic(device, precision):
            found = used.encode(image)
            noise = [torch.Generator().manual_seed(number)]
            decoded.append(used.decode(found, generator=noise).float().clamp(-1, 1).cpu())
        codes.append(found.cpu())
    speed = len(images) / (time.perf_counter() - start)
    return Outcome(torch.cat(codes), torch.cat(decoded), speed)


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Of float images in [-1, 1], dB (n,)."""
    errors = ((images.double() - others.double()) / 2).square().flatten(1).mean(1)
    return -10 * errors.log10()


def sample_images() -> Tensor:
    """Photos of the embedded sample set as the main job crops them, float32 (n, 3, 256, 256)."""
    data = IMAGENET_RECON.open(None, IMAGENET_RECON.protocol("wetok"))
    return to_float(np.stack([data.load(sample) for sample in data.samples(IMAGES)]))


def table_of(title: str, network: UniWeTok, images: Tensor, device: str) -> Table:
    """A row a precision, each beside strict float32."""
    table = Table(title, "bits of codes that flip", "PSNR, dB", "moved by", "at most", "images/s")
    strict: Outcome | None = None
    for precision in PRECISIONS:
        found = outcome(network, images, device, precision)
        strict = strict or found
        flips = (found.codes != strict.codes).double().mean().item()
        quality, before = psnr(found.images, images), psnr(strict.images, images)
        moved = quality - before
        table.add_row(
            precision,
            f"{flips:.3%}",
            f"{quality.mean().item():.4f}",
            f"{moved.mean().item():+.4f}",
            f"{moved.abs().max().item():.4f}",
            f"{found.speed:.2f}",
        )
    return table


def main() -> None:
    """Print what each precision moves."""
    console = Console(width=110)
    console.print(headline())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = sample_images()
    networks = {"uniwetok-nano": UniWeTok.from_checkpoint(WEIGHTS)}
    if device == "cuda":
        networks["the paper's size, random weights"] = UniWeTok()
    for title, network in networks.items():
        with reproducible(device):
            console.print(table_of(title, network.to(device).eval(), images, device))
