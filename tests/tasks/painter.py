"""A text-to-image model for tests: a colour of the prompt and the seed, and a bright square."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.interfaces import Code
from harness.interfaces.types import ModelCard

SIDE = 32


class Painter:
    """Counts what it painted; fails for prompts that hold a word.

    Args:
        painted: Prompts are appended to it.
        refuses: The word.
    """

    def __init__(self, painted: list[str], refuses: str = "") -> None:
        self.card = ModelCard(name="painter")
        self._painted = painted
        self._refuses = refuses

    def load(self, device: str) -> None:
        pass

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        if self._refuses and any(self._refuses in prompt for prompt in prompts):
            raise ArithmeticError("no paint left")
        self._painted.extend(prompts)
        pairs = zip(prompts, seeds, strict=True)
        digests = [hashlib.sha256(f"{prompt} {seed}".encode()).digest() for prompt, seed in pairs]
        return [Code(digest[:3], SIDE, SIDE) for digest in digests]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        colours = torch.tensor([list(code.payload) for code in codes]) / 127.5 - 1
        images = colours[:, :, None, None].repeat(1, 1, SIDE, SIDE).float()
        images[:, :, 8:16, 8:16] = 1
        return images
