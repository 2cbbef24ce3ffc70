"""Means of losses over the tokens they were measured on, by kind of record."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from uniwetok.train.mllm.data.records import KINDS

_TERMS = ("text", "vision")


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
