"""Mixtures: which of several sources each position of the endless sequence comes from.

Sources are drawn without gaps or memory: a block of positions holds each in the number that its
weight gives, in an order drawn from the run's seed and the block's number. So whoever starts at a
position knows at once how many images of each source came before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uniwetok.randomness import generator, stream_seed
from uniwetok.train import TrainingError
from uniwetok.train.data.mixture import BLOCK, quotas, read_weights
from uniwetok.train.data.order import EpochOrder

_KEPTBLOCKS = 2
"""A batch may begin in one block and end in the next."""


class MixedOrder:
    """The images of some sources, numbered one source after the other, in the order of training.

    A pure function of the sources' parts, the weights and the seed. Each source goes through epochs
    of its own, in an order that its name seeds, so that another source's weight does not move it.
    One source alone comes in the order of `EpochOrder` with the seed itself.

    Attributes:
        images: of all sources.
        orders: of each source.
        firsts: number of each source's first image.
    """

    def __init__(
        self,
        parts: Sequence[NDArray[np.int64]],
        mixture: Sequence[str] = (),
        *,
        seed: int,
        shuffle_shards: int = 1,
    ) -> None:
        """Take the sources' parts in the order of the mixture, which is empty for one source.

        Raises:
            TrainingError: a source is empty.
        """
        weights = read_weights(mixture)
        for name, own in zip(weights, parts, strict=False):
            if not own.sum():
                raise TrainingError(f"source {name}: nothing of it can be trained on; leave it out")
        self._names = list(weights)
        self._seed = seed
        alone = len(parts) == 1
        seeds = [seed] if alone else [stream_seed(seed, "source", name) for name in weights]
        self.orders = [
            EpochOrder(each, seed=own, shuffle_shards=shuffle_shards)
            for each, own in zip(parts, seeds, strict=True)
        ]
        counts = np.array([order.images for order in self.orders])
        self.images = int(counts.sum())
        self.firsts = (np.cumsum(counts) - counts).tolist()
        self._quotas = np.array([BLOCK]) if alone else quotas(weights)
        self._blocks: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def locate(self, position: int) -> tuple[int, int]:
        """Return the source of a position, and the position in that source's own sequence."""
        if len(self.orders) == 1:
            return 0, position
        block, row = divmod(position, BLOCK)
        sources, places = self._block(block)
        source = int(sources[row])
        return source, block * int(self._quotas[source]) + int(places[row])

    def index(self, position: int) -> int:
        """Return the image at a position."""
        source, place = self.locate(position)
        return int(self.firsts[source]) + self.orders[source].index(place)

    def epoch_of(self, position: int) -> int:
        """Return the epoch of its own source that a position is in."""
        source, place = self.locate(position)
        return place // self.orders[source].images

    def span(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the images at the positions ``start`` to ``stop`` - 1, and their epochs."""
        before, after = self.taken(start), self.taken(stop)
        if len(self.orders) == 1:
            sources = np.zeros(stop - start, np.int64)
        else:
            blocks = range(start // BLOCK, stop // BLOCK + 1)
            drawn = np.concatenate([self._block(block)[0] for block in blocks])
            sources = drawn[start - blocks.start * BLOCK :][: stop - start]
        images, epochs = np.empty((2, stop - start), np.int64)
        for source, order in enumerate(self.orders):
            chosen, low, high = sources == source, int(before[source]), int(after[source])
            images[chosen] = self.firsts[source] + order.span(low, high)
            epochs[chosen] = np.arange(low, high) // order.images
        return images, epochs

    def taken(self, position: int) -> NDArray[np.int64]:
        """Return how many positions before this one each source has."""
        block, row = divmod(position, BLOCK)
        taken = block * self._quotas
        if len(self.orders) == 1:
            return taken + row
        sources, _ = self._block(block)
        counts: NDArray[np.int64] = np.bincount(sources[:row], minlength=len(self.orders))
        return taken + counts

    def progress(self, position: int) -> dict[str, float]:
        """Say, for the log, how often all images were seen before a position, and each source."""
        values: dict[str, float] = {"epoch": position / self.images}
        for name, order, count in zip(self._names, self.orders, self.taken(position), strict=False):
            values[f"samples/{name}"] = int(count)
            values[f"epochs/{name}"] = int(count) / order.images
        return values

    def _block(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the source of each position of a block, and its place among that source's."""
        if block not in self._blocks:
            while len(self._blocks) >= _KEPTBLOCKS:
                del self._blocks[next(iter(self._blocks))]
            sources = np.repeat(np.arange(len(self._quotas)), self._quotas)
            sources = generator(self._seed, "mixture", block).permutation(sources)
            places = np.empty(BLOCK, np.int64)
            for source, quota in enumerate(self._quotas):
                places[sources == source] = np.arange(quota)
            self._blocks[block] = (sources, places)
        return self._blocks[block]
