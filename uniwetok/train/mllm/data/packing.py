"""Packing of samples into rows: next-fit in a shuffled order, round after round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniwetok.train.data.mixing import MixedOrder


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
    """Rows of the endless sequence of rounds, a pure function of samples, lengths and seed.

    A round has as many samples as there are: of one source an epoch, of several as many of each as
    its weight gives. No row spans two; so the last one of a round may be short.
    """

    samples: NDArray[np.int64]
    """Numbers of those that fit into a row."""
    tokens: NDArray[np.int32]
    """Lengths of all samples, by number."""
    limit: int
    """Positions of a row."""
    seed: int
    """Seeds the order."""
    mixture: tuple[str, ...] = ()
    """Sources and their weights, see `read_weights`; empty for one source."""
    ends: Sequence[int] = ()
    """Number of the first sample behind each source; empty for one source."""

    def __post_init__(self) -> None:
        ends = np.searchsorted(self.samples, self.ends) if self.ends else [len(self.samples)]
        parts = [np.array([count]) for count in np.diff(ends, prepend=0)]
        self._order = MixedOrder(parts, self.mixture, seed=self.seed)
        self._firsts = [0]
        self._round: _Round | None = None

    def row(self, position: int) -> list[tuple[int, int]]:
        """Return the samples of the row at a position, each after the epoch of its source."""
        number = self._find(position)
        packed = self._packed(number)
        place = position - self._firsts[number]
        row = slice(packed.edges[place], packed.edges[place + 1])
        return list(zip(packed.epochs[row].tolist(), packed.samples[row].tolist(), strict=True))

    def progress(self, positions: int) -> dict[str, float]:
        """Say how often all samples, and those of each source, were seen after so many rows."""
        number = self._find(positions)
        edge = int(self._packed(number).edges[positions - self._firsts[number]])
        return self._order.progress(number * len(self.samples) + edge)

    def _find(self, position: int) -> int:
        # How many rows a round fills depends on its order, so every round before is packed once.
        while self._firsts[-1] <= position:
            edges = self._packed(len(self._firsts) - 1).edges
            self._firsts.append(self._firsts[-1] + len(edges) - 1)
        return int(np.searchsorted(self._firsts, position, side="right")) - 1

    def _packed(self, number: int) -> _Round:
        if self._round is None or self._round.number != number:
            count = len(self.samples)
            places, epochs = self._order.span(number * count, (number + 1) * count)
            samples = self.samples[places]
            edges = pack(self.tokens[samples], self.limit)
            self._round = _Round(number, samples, epochs, edges)
        return self._round


@dataclass(frozen=True, eq=False)
class _Round:
    """As many samples as there are, in order, and how they are packed."""

    number: int
    samples: NDArray[np.int64]
    epochs: NDArray[np.int64]
    """Of each sample, that of its source."""
    edges: NDArray[np.int64]
    """See `pack`."""
