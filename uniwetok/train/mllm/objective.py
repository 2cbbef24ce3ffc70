"""The training objective of a row, and the means of its losses by kind of record."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from uniwetok.mllm.batch import Batch
from uniwetok.mllm.layout import NO_TARGET
from uniwetok.mllm.model import MLLM
from uniwetok.train.mllm.data.records import KINDS

_TERMS = ("text", "vision")


class Objective(nn.Module):
    """Weighs the losses of rows as if all of a step's tokens were one batch.

    A mean over all tokens of a step does not depend on how samples are packed into rows or rows
    are spread over processes; a mean of the rows' means would.

    Attributes:
        model: what is trained.
    """

    def __init__(self, model: MLLM) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: Batch, totals: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give a row's share of the step's loss.

        Args:
            batch: one row.
            totals: (2,) text tokens and image tokens that are predicted in the step.
            generator: see ``MLLM.forward``.

        Returns:
            () share, and ``MLLM.forward``'s values, without gradient.
        """
        out = self.model(batch, generator)
        # A step may predict no text, or no image: 0 tokens then weigh 0, not 0 / 0.
        shares = torch.stack([out["text_tokens"], out["vision_tokens"]]) / totals.clamp(min=1)
        loss = self.model.config.text_weight * shares[0] * out["text"] + shares[1] * out["vision"]
        return loss, {name: value.detach() for name, value in out.items()}


def count_predicted(batch: Batch) -> Tensor:
    """Count text and image tokens that a batch predicts, (2,) float64 on the CPU."""
    text = (batch.text_targets != NO_TARGET).sum()
    return torch.stack([text, batch.generated.sum()]).double()


class TokenMeans:
    """Sums of losses a token and numbers of tokens, by term and kind, until they are read."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sums = self._zeros()

    def add(self, term: str, losses: Tensor, kinds: Tensor) -> None:
        """Count losses.

        Args:
            term: "text" or "vision".
            losses: (tokens,).
            kinds: (tokens,) places in `KINDS`.
        """
        values = torch.stack([losses.detach().double(), torch.ones_like(losses).double()], dim=1)
        self._sums[_TERMS.index(term)].index_add_(0, kinds.to(losses.device), values)

    def read(self) -> dict[str, float]:
        """Give the means since the last reading, of all and by kind; every process calls this."""
        sums = self._accelerator.reduce(self._sums, "sum")
        self._sums = self._zeros()
        means = {}
        for term, by_kind in zip(_TERMS, sums.tolist(), strict=True):
            total, count = (sum(column) for column in zip(*by_kind, strict=True))
            if count:
                means[f"{term}_loss"] = total / count
            for kind, (of_kind, tokens) in zip(KINDS, by_kind, strict=True):
                if tokens:
                    means[f"{term}_loss/{kind}"] = of_kind / tokens
        return means

    def _zeros(self) -> Tensor:
        shape = (len(_TERMS), len(KINDS), 2)
        return torch.zeros(shape, dtype=torch.float64, device=self._accelerator.device)
