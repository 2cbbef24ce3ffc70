"""The order of the images of one source: epoch after epoch, each a permutation of all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniwetok.randomness import generator

_KEPT_WINDOWS = 2
"""A batch may begin in one window and end in the next."""


class EpochOrder:
    """The permutation of every epoch, a pure function of parts, seed and ``shuffle_shards``.

    An epoch permutes the parts (shards), then mixes the images of ``shuffle_shards`` parts that
    follow each other, so that only these are read from at a time. Images in one part, a folder,
    are all mixed.
    """

    def __init__(self, parts: NDArray[np.int64], *, seed: int, shuffle_shards: int) -> None:
        self.images = int(parts.sum())
        self.seed = seed
        self._parts = parts
        self._firsts = np.cumsum(parts) - parts
        self._span = shuffle_shards
        self._plan: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None
        self._windows: dict[tuple[int, int], NDArray[np.int64]] = {}

    def index(self, position: int) -> int:
        """Return the image at a position of the endless sequence of epochs."""
        epoch, place = divmod(position, self.images)
        shards, ends = self._shards(epoch)
        window = int(np.searchsorted(ends, place, side="right"))
        images = self._window(epoch, window, shards)
        return int(images[place - int(ends[window])])

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the whole permutation of an epoch, which takes 8 bytes an image."""
        shards, ends = self._shards(epoch)
        return np.concatenate([self._window(epoch, window, shards) for window in range(len(ends))])

    def span(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the images at the positions from ``start`` to before ``stop``."""
        if start == stop:
            return np.empty(0, np.int64)
        first, last = start // self.images, (stop - 1) // self.images
        images = np.concatenate([self.epoch(epoch) for epoch in range(first, last + 1)])
        return images[start - first * self.images :][: stop - start]

    def _shards(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the parts in the epoch's order and where each window of them ends."""
        if self._plan is None or self._plan[0] != epoch:
            shards = generator(self.seed, "shards", epoch).permutation(len(self._parts))
            sizes = np.add.reduceat(self._parts[shards], np.arange(0, len(shards), self._span))
            self._plan = (epoch, shards, np.cumsum(sizes))
        return self._plan[1:]

    def _window(self, epoch: int, window: int, shards: NDArray[np.int64]) -> NDArray[np.int64]:
        key = (epoch, window)
        if key not in self._windows:
            chosen = shards[window * self._span : (window + 1) * self._span]
            images = np.concatenate(
                [self._firsts[shard] + np.arange(self._parts[shard]) for shard in chosen]
            )
            while len(self._windows) >= _KEPT_WINDOWS:
                del self._windows[next(iter(self._windows))]
            self._windows[key] = generator(self.seed, "images", *key).permutation(images)
        return self._windows[key]
