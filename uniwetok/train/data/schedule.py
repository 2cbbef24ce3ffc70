"""Which positions of the endless sequence of images each step and process takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniwetok.randomness import generator
from uniwetok.train import TrainingError
from uniwetok.train.data.config import DataConfig

_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a process stands in a run."""

    batch_size: int
    """Examples of one step over all processes."""
    seed: int
    """Seed of the order, and of what is drawn for each example."""
    rank: int = 0
    """This process, 0 to ``world`` - 1."""
    world: int = 1
    """Number of processes."""
    start: int = 0
    """The first step that is read."""
    steps: int = 1
    """Steps of the whole run, for augmentation that changes towards its end."""


@dataclass(frozen=True)
class Share:
    """What one process takes in one step: ``count`` positions from ``first``, at one size."""

    first: int
    count: int
    size: tuple[int, int]
    """Height and width in pixels."""
    weight: float = 1.0
    """Of this share's mean loss in the mean over processes: by its part of the step's pixels, which
    is 1 where all have as many. So every pixel of a step counts the same in the gradient, as if one
    process had taken all images."""


class Schedule:
    """Shares of all steps, computed from the step's number alone.

    At one resolution, step s takes positions [s * batch_size, (s + 1) * batch_size), rank r the
    r-th equal part of them. With buckets each rank draws one in each step, and takes as many images
    as fit into its pixel budget of batch_size / world * resolution**2, at least one; positions
    follow each other without gap, first by step, then by rank. Either way an epoch uses every image
    once. Buckets are drawn of all, or, where ranks are partitioned, of those of the rank's
    resolution, all equally likely.
    """

    def __init__(self, config: DataConfig, *, batch_size: int, seed: int, world: int) -> None:
        """Check that the batch divides.

        Raises:
            TrainingError: ``batch_size`` is not a multiple of ``world``.
        """
        if batch_size < 1 or batch_size % world:
            below = batch_size // world * world
            nearest = [size for size in (below, below + world) if size > 0]
            raise TrainingError(
                f"batch_size={batch_size} does not divide among {world} processes; the nearest "
                f"that does: {' or '.join(map(str, nearest))}"
            )
        self._each = batch_size // world
        self._world = world
        self._seed = seed
        self._sizes = config.buckets or ((config.resolution, config.resolution),)
        self._square = config.resolution**2
        budget = self._each * self._square
        self._counts = np.array([max(1, budget // (h * w)) for h, w in self._sizes])
        self._pixels = self._counts * np.array([h * w for h, w in self._sizes])
        self._groups = resolutions(self._sizes) if config.partition == "fixed" else []
        self._firsts = [0]
        self._block: tuple[int, NDArray[np.int64]] | None = None

    def share(self, step: int, rank: int) -> Share:
        """Return what a rank takes in a step."""
        if len(self._sizes) == 1:
            each = int(self._counts[0])
            return Share((step * self._world + rank) * each, each, self._sizes[0])
        # Buckets hold different numbers of images, so where a step starts depends on all draws
        # before it. They are summed by block: a resumed run finds its place quickly, and every
        # process draws for all ranks, so that none must ask another.
        block, row = divmod(step, _BLOCK)
        while len(self._firsts) <= block:
            taken = self._counts[self._draws(len(self._firsts) - 1)].sum()
            self._firsts.append(self._firsts[-1] + int(taken))
        draws = self._draws(block)
        counts = self._counts[draws].ravel()
        before = int(counts[: row * self._world + rank].sum())
        bucket = int(draws[row, rank])
        # Of all ranks: as every one draws for all, none must be asked.
        pixels = self._pixels[draws[row]]
        return Share(
            self._firsts[block] + before,
            int(self._counts[bucket]),
            self._sizes[bucket],
            float(pixels[rank] * self._world / pixels.sum()),
        )

    def _draws(self, block: int) -> NDArray[np.int64]:
        """Return the bucket of every step of a block and rank, (steps, world)."""
        if self._block is None or self._block[0] != block:
            stream = generator(self._seed, "buckets", block)
            shape = (_BLOCK, self._world)
            if self._groups:
                draws = self._partitioned(block, stream.random(shape))
            else:
                draws = stream.integers(len(self._sizes), size=shape)
            self._block = (block, draws)
        return self._block[1]

    def _partitioned(self, block: int, draws: NDArray[np.float64]) -> NDArray[np.int64]:
        """Turn draws in [0, 1) into buckets of the resolution that each step and rank has."""
        count = len(self._groups)
        ranks = np.broadcast_to(np.arange(self._world), draws.shape)
        if self._world < count:
            # Dealt on from step to step, so that every resolution comes as often.
            ranks = ranks + self._world * (block * _BLOCK + np.arange(_BLOCK))[:, None]
        buckets = np.empty(draws.shape, np.int64)
        for number, group in enumerate(self._groups):
            chosen = ranks % count == number
            buckets[chosen] = np.array(group)[(draws[chosen] * len(group)).astype(np.int64)]
        return buckets

    def fullest(self, passes: int) -> float:
        """Return the pixels of the largest pass of a share, in images of ``data.resolution``.

        Args:
            passes: that a share is cut into, or into single images where it has fewer.
        """
        each = -(-self._counts // np.minimum(passes, self._counts))
        return float((each * (self._pixels // self._counts)).max() / self._square)

    def partition(self) -> list[tuple[str, str]]:
        """Say for each resolution, or for all buckets together, which ranks take it and with what.

        Returns:
            Ranks, and sizes with their images a step, ready to print; nothing at one resolution.
        """
        if len(self._sizes) == 1:
            return []
        groups = self._groups or [list(range(len(self._sizes)))]
        rows = []
        for number, group in enumerate(groups):
            ranks = [str(rank) for rank in range(number, self._world, len(groups))]
            who = f"ranks {', '.join(ranks)}" if len(ranks) > 1 else f"rank {number}"
            if len(groups) == 1:
                who = "each rank, drawn"
            elif self._world < len(groups):
                who = f"each {len(groups)} steps, in turns" if self._world == 1 else "in turns"
            sizes = (f"{self._counts[b]} x {'x'.join(map(str, self._sizes[b]))}" for b in group)
            rows.append((who, ", ".join(sizes)))
        return rows


_ALIKE = 1.25
"""Areas of one resolution differ by less: 320x192 has 0.94 of 256x256, the next resolution twice
as much."""


def resolutions(sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Sort the numbers of some sizes into resolutions, those of about one area, the smallest first.

    Sizes stay in their order within a resolution.
    """
    areas = [height * width for height, width in sizes]
    groups: list[list[int]] = []
    for number in sorted(range(len(sizes)), key=lambda each: areas[each]):
        if not groups or areas[number] >= _ALIKE * areas[groups[-1][0]]:
            groups.append([])
        groups[-1].append(number)
    return [sorted(group) for group in groups]
