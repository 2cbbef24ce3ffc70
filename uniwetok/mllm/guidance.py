"""Classifier-free guidance by text and by image: which branches are run, and how they are mixed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from uniwetok.mllm.errors import MLLMError


@dataclass(frozen=True)
class Branch:
    """What one run of the model knows."""

    text: bool = True
    images: bool = True


@dataclass(frozen=True)
class Guidance:
    """Weights of guidance; at 1, each is off and its branch is not run.

    With predictions f of everything, i of the images alone and n of nothing, the result is
    n + image (i - n) + text (f - i), after Brooks et al. 2023.

    Raises:
        MLLMError: a weight is not a finite number of at least 0.
    """

    text: float = 7.5
    """How strongly the text is followed (released: 7.5 for DPG, 13 for GenEval)."""
    image: float = 1.0
    """How strongly source images are kept. The released model knows no such guidance: its null
    branch sees the sources, which is the weight 1."""

    def __post_init__(self) -> None:
        for name in ("text", "image"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise MLLMError(f"guidance by {name} must be a finite number >= 0, got {value}")

    def plan(self, *, images: bool) -> tuple[list[Branch], tuple[float, ...]]:
        """Give the branches that count, most knowing first, and the weight of each over the next.

        Args:
            images: whether there are source images; without, their weight means nothing.
        """
        image = self.image if images else self.text
        branches = [Branch(), Branch(text=False), Branch(text=False, images=False)]
        shares = [self.text, image - self.text, 1 - image]
        kept = [index for index, share in enumerate(shares) if share or not index]
        weights = (self.text, image)
        return [branches[index] for index in kept], tuple(weights[index] for index in kept[:-1])
