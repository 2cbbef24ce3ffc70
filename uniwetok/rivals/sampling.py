"""Drawing images' codes of a codebook step by step, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from uniwetok.tokenizer.quantizer import check_finite, finite_rows

Advance = Callable[[Tensor], Tensor]
"""Takes a step's tokens (rows, tokens), and gives logits (rows, tokens, codes) of the next's."""


class Sizes(Protocol):
    """Sizes of a rival, read off its weights."""

    @property
    def codes(self) -> int:
        """Size of the codebook."""
        ...

    @property
    def classes(self) -> int:
        """How many there are."""
        ...

    @property
    def tokens(self) -> int:
        """Of an image."""
        ...

    @property
    def side(self) -> int:
        """Tokens of an image's side."""
        ...

    @property
    def published(self) -> Mapping[str, float]:
        """Options that the published figures of this size were made with; empty of other sizes."""
        ...

    @property
    def steps(self) -> Callable[..., list[Step]]:
        """Gives the steps of an image, of the options of sampling that there are."""
        ...

    def build(self) -> nn.Module:
        """Make a network of these sizes, its weights not yet given."""
        ...


class NextTokens(Protocol):
    """A transformer that gives logits of the tokens of an image's next step."""

    @property
    def classes(self) -> int:
        """How many there are; the label after the last is the null class."""
        ...

    @property
    def tokens(self) -> int:
        """Of an image, in all steps."""
        ...

    def start(self, labels: Tensor) -> tuple[Tensor, Advance]:
        """Give logits (rows, tokens, codes) of the first step of labels (rows,); how to go on."""
        ...


@dataclass(frozen=True)
class Step:
    """How a step's tokens are drawn from their logits."""

    guidance: float = 1.0
    """Weight w of guidance, logits = null + w (class - null)."""
    temperature: float = 1.0
    """Above 0; at 1 from the model's own distribution."""
    top_k: int = 0
    """Only so many of the likeliest; all at 0."""
    top_p: float = 1.0
    """Only the likeliest that make up this probability, and the one that passes it."""

    def pick(self, logits: Tensor, chances: Tensor) -> Tensor:
        """Draw one token a row, (rows,) int64.

        Args:
            logits: (rows, codes).
            chances: (rows,) float64, uniform in [0, 1): where on the cumulative distribution.
        """
        # In float64, so that the sum of 16,384 probabilities moves no token by its rounding.
        logits = logits.double() / self.temperature
        if self.top_k:
            least = logits.topk(min(self.top_k, logits.shape[1])).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p < 1:
            ordered, order = logits.sort(descending=True)
            shares = ordered.softmax(dim=1)
            beyond = shares.cumsum(dim=1) - shares > self.top_p
            logits = logits.masked_fill(beyond.gather(1, order.argsort(dim=1)), -torch.inf)
        sums = logits.softmax(dim=1).cumsum(dim=1)
        # Of the sum that was reached, which rounding keeps from 1: beyond it there is no token.
        places = torch.searchsorted(sums, chances.unsqueeze(1) * sums[:, -1:], right=True)
        return places.squeeze(1).clamp(max=logits.shape[1] - 1)


@torch.no_grad()
def sample(
    model: NextTokens,
    labels: Tensor,
    generators: Sequence[torch.Generator],
    steps: Sequence[Step],
) -> Tensor:
    """Draw one image's codes for each label.

    Every token is drawn by one number from its image's own generator, so images of a batch depend
    on each other only through rounding, which in matrix products depends on the number of rows.

    Args:
        model: in evaluation mode.
        labels: (batch,) int64 class indices, on the model's device.
        generators: CPU generators, one for each label.
        steps: all of an image; no null branch is run where the weights of all are 1.

    Returns:
        (batch, tokens) int64, in the model's order.

    Raises:
        ValueError: logits are not finite.
    """
    chances = torch.stack(
        [torch.rand(model.tokens, dtype=torch.float64, generator=each) for each in generators]
    ).to(labels.device)
    guided = any(step.guidance != 1 for step in steps)
    logits, advance = model.start(
        torch.cat([labels, torch.full_like(labels, model.classes)]) if guided else labels
    )
    finite = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    drawn = labels.new_empty(len(labels), 0)
    for number, step in enumerate(steps):
        if guided:
            given, null = logits.chunk(2)
            logits = null + step.guidance * (given - null)
        finite &= finite_rows(logits)
        places = slice(drawn.shape[1], drawn.shape[1] + logits.shape[1])
        picked = step.pick(logits.nan_to_num().flatten(0, 1), chances[:, places].flatten()).view(
            len(labels), -1
        )
        drawn = torch.cat([drawn, picked], dim=1)
        if number < len(steps) - 1:
            logits = advance(picked.repeat(2 if guided else 1, 1))
    # Looked at once, at the end: a GPU would have to be waited for at every step.
    check_finite(finite, "the transformer")
    return drawn
