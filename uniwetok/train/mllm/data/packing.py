"""Packing of samples into rows: next-fit in a shuffled order, epoch after epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniwetok.train.data.order import EpochOrder


def pack(lengths: NDArray[np.int32], limit: int) -> NDArray[np.int64]:
    """Fill rows in order, each until the next sample does not fit.

    Args:
        lengths: tokens of the samples in order, none above ``limit``.
        limit: tokens of a row.

    Returns:
        (rows + 1,): row r holds samples out[r] .. out[r + 1] - 1.
    """
    # Next-fit leaves some of a row's end empty, but keeps the shuffled order: each row is a random
    # draw of samples. Best-fit would choose them by length, long captions with short edits.
    ends = np.cumsum(lengths, dtype=np.int64)
    edges = [0]
    while edges[-1] < len(ends):
        used = ends[edges[-1] - 1] if edges[-1] else 0
        edges.append(int(np.searchsorted(ends, used + limit, side="right")))
    return np.array(edges)


@dataclass
class PackedOrder:
    """Rows of the endless sequence of epochs, a pure function of samples, lengths and seed.

    No row spans two epochs; so the last one of an epoch may be short.
    """

    samples: NDArray[np.int64]
    """Numbers of those that fit into a row."""
    tokens: NDArray[np.int32]
    """Lengths of all samples, by number."""
    limit: int
    """Positions of a row."""
    seed: int
    """Seeds the order."""

    def __post_init__(self) -> None:
        count = np.array([len(self.samples)])
        self._order = EpochOrder(count, seed=self.seed, shuffle_shards=1)
        self._firsts = [0]
        self._epoch: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def row(self, position: int) -> tuple[int, list[int]]:
        """Return the epoch and the samples of the row at a position."""
        epoch = self._find(position)
        samples, edges = self._packed(epoch)
        place = position - self._firsts[epoch]
        return epoch, samples[edges[place] : edges[place + 1]].tolist()

    def epochs(self, positions: int) -> float:
        """Return how often all samples have been seen after so many rows."""
        epoch = self._find(positions)
        _, edges = self._packed(epoch)
        return epoch + float(edges[positions - self._firsts[epoch]]) / len(self.samples)

    def _find(self, position: int) -> int:
        # How many rows an epoch fills depends on its order, so every epoch before is packed once.
        while self._firsts[-1] <= position:
            _, edges = self._packed(len(self._firsts) - 1)
            self._firsts.append(self._firsts[-1] + len(edges) - 1)
        return int(np.searchsorted(self._firsts, position, side="right")) - 1

    def _packed(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._epoch is None or self._epoch[0] != epoch:
            samples = self.samples[self._order.epoch(epoch)]
            self._epoch = (epoch, samples, pack(self.tokens[samples], self.limit))
        return self._epoch[1:]
