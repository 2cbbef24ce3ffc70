"""The training objective of a row, in one module that can be wrapped and sharded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uniwetok.mllm.batch import Batch
from uniwetok.mllm.layout import NO_TARGET
from uniwetok.mllm.model import MLLM


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
        shares = torch.stack([out["text_tokens"], out["vision_tokens"]]) / totals.clamp(min=1)
        loss = self.model.config.text_weight * shares[0] * out["text"] + shares[1] * out["vision"]
        return loss, {name: value.detach() for name, value in out.items()}


def count_predicted(batch: Batch) -> Tensor:
    """Count text and image tokens that a batch predicts, (2,) float64 on the CPU."""
    text = (batch.text_targets != NO_TARGET).sum()
    return torch.stack([text, batch.generated.sum()]).double()
