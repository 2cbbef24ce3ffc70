"""The token-entropy loss bit by bit, beside the same loss over all 256 codes of a group.

At the size of a large batch of the paper's, 1024 images of 64 tokens of 128 bits: CPU time of the
forward and backward pass, in interleaved rounds after one to warm up, and the memory that a fresh
process adds at its peak, with and without the gradient that either has to return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks.machine import headline
from benchmarks.metrics.memory import peak_growth
from benchmarks.metrics.rounds import Claim, Comparison, Outputs, measure
from benchmarks.metrics.table import time_table

if TYPE_CHECKING:
    from torch import Tensor

IMAGES, BITS, SIDE, GROUPS = 1024, 128, 8, 16
TEMPERATURE = 0.01
ROUNDS = 3
FASTER, SMALLER = 20, 100
"""Goals: how many times as fast, and how many times less memory."""


def main() -> None:
    """Print time and memory of both, and how far apart their values and gradients are."""
    import torch

    torch.set_num_threads(1)
    comparison = Comparison(
        unit="batch",
        items=1,
        variants={"bit by bit": bit_by_bit(IMAGES), "256 codes": over_codes(IMAGES)},
        claims=[Claim("token entropy, forward and backward", "bit by bit", "256 codes", FASTER)],
    )
    lines = measure(comparison, ROUNDS, "cpu")
    ours, listed = peak_growth(bit_by_bit, IMAGES), peak_growth(over_codes, IMAGES)
    gradient = IMAGES * BITS * SIDE**2 * 4 / 1e6
    console = Console(width=200, soft_wrap=True)
    console.print(f"{IMAGES} x {SIDE**2} tokens of {BITS} bits, {headline()}, one thread\n")
    console.print(time_table(lines), markup=False)
    console.print("\n| memory at the peak | ours, MB | 256 codes, MB | times less | goal |")
    console.print("| --- | --- | --- | --- | --- |")
    for label, less in (("added", 0.0), (f"less the gradient, {gradient:.1f} MB", gradient)):
        mine, theirs = ours - less, listed - less
        console.print(f"| {label} | {mine:.1f} | {theirs:.1f} | {theirs / mine:.0f} | {SMALLER} |")


def bit_by_bit(images: int) -> Callable[[], Outputs]:
    """Make the loss as it is computed here."""
    from uniwetok.losses.entropy import token_entropy

    return _forward_and_backward(lambda x: token_entropy(x, GROUPS, TEMPERATURE), images)


def over_codes(images: int) -> Callable[[], Outputs]:
    """Make the loss as it is defined: a softmax over the 256 codes of every group."""
    import torch

    bits = BITS // GROUPS
    numbers = torch.arange(2**bits)
    codes = ((numbers[:, None] >> torch.arange(bits)) & 1).float() * 2 - 1

    def loss(x: Tensor) -> Tensor:
        groupwise = x.flatten(2).mT.reshape(-1, bits)
        log_probabilities = (groupwise @ codes.T * (2 / TEMPERATURE)).log_softmax(-1)
        return -(log_probabilities.exp() * log_probabilities).sum(-1).mean()

    return _forward_and_backward(loss, images)


def _forward_and_backward(loss: Callable[[Tensor], Tensor], images: int) -> Callable[[], Outputs]:
    import torch

    generator = torch.Generator().manual_seed(0)
    # Small enough for undecided bits, so that values and gradients are not all zero.
    latents = torch.randn(images, BITS, SIDE, SIDE, generator=generator) * 0.01
    latents.requires_grad_()

    def work(x: Tensor = latents) -> Outputs:
        value = loss(x)
        (gradient,) = torch.autograd.grad(value, x)
        return [value.detach().view(1).numpy(), gradient.numpy()]

    # What torch loads when it is first used belongs to neither loss.
    work(latents[:1].detach().requires_grad_())
    return work
