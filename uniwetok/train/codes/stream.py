"""Batches of codes, the same whatever reads them and wherever it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uniwetok.randomness import generator
from uniwetok.tokenizer import UniWeTok, quantizer
from uniwetok.train import TrainingError
from uniwetok.train.ar.config import CodesConfig
from uniwetok.train.codes.cache import Codes
from uniwetok.train.codes.encoding import encode
from uniwetok.train.codes.views import FreshViews
from uniwetok.train.data.config import DataConfig
from uniwetok.train.data.mixing import MixedOrder
from uniwetok.train.data.schedule import Place
from uniwetok.train.data.source import ImageSource
from uniwetok.train.data.stream import TrainingImages


@dataclass(frozen=True)
class CodeBatch:
    """One step's codes of one process."""

    packed: Tensor
    """uint8 (B, bytes), see `uniwetok.tokenizer.quantizer.pack`."""
    labels: Tensor
    """int64 (B,)."""
    unreadable: int = 0
    """Images that could not be read and whose places others took; of a cache all, in its first."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


class CachedCodes:
    """An endless stream of `CodeBatch` from a cache, a pure function of codes, settings and step.

    Epochs are permutations of the readable images, of each source. A position takes its image's
    random views in turn, one an epoch; late in the run more and more take the center crop, mirrored
    or not.
    """

    def __init__(
        self, codes: Codes, config: CodesConfig, place: Place, sizes: Sequence[int] | None = None
    ) -> None:
        """Take codes of one source, or of several of so many images each.

        Raises:
            TrainingError: no image of a source could be read.
        """
        self._codes = codes
        self._config = config
        self._place = place
        self._known = np.flatnonzero(codes.readable)
        ends = np.cumsum(sizes or [len(codes)])
        if not len(self._known):
            raise TrainingError("the codes' cache holds no image that could be read")
        counts = np.diff(np.searchsorted(self._known, ends), prepend=0)
        parts = [np.array([count]) for count in counts]
        self._order = MixedOrder(parts, config.mixture, seed=place.seed)

    def progress(self, steps: int) -> dict[str, float]:
        """Say how often all processes have seen the images, and each source, after some steps."""
        return self._order.progress(steps * self._place.batch_size)

    def __iter__(self) -> Iterator[CodeBatch]:
        """Yield a step's batch after the other."""
        place = self._place
        step = place.start
        lost = 0 if step else len(self._codes) - len(self._known)  # A run that goes on knows them.
        while True:
            each = place.batch_size // place.world
            own = slice(place.rank * each, (place.rank + 1) * each)
            positions = np.arange(step * place.batch_size, (step + 1) * place.batch_size)
            views = self._views(step, positions)[own]
            images = self._known[[self._order.index(int(at)) for at in positions[own]]]
            yield CodeBatch(
                torch.from_numpy(self._codes.read(images, views)),
                torch.from_numpy(self._codes.labels[images]),
                lost,
            )
            step, lost = step + 1, 0

    def _views(self, step: int, positions: np.ndarray) -> np.ndarray:
        """View of every position of a step, over all processes."""
        place, random_views = self._place, self._codes.header.origin.views
        # Drawn for the whole step and then shared out: any number of processes sees the same views.
        draws = generator(place.seed, "views", step).random((2, len(positions)))
        progress = step / place.steps
        centered = draws[0] < self._config.center_share(progress)
        center = random_views + (draws[1] < 0.5)
        epochs = np.array([self._order.epoch_of(int(at)) for at in positions])
        random = epochs % random_views
        return np.where(centered, center, random).astype(np.int64)


class EncodedCodes:
    """An endless stream of `CodeBatch` that encodes fresh views of the images on the way."""

    def __init__(
        self, source: ImageSource, tokenizer: UniWeTok, config: CodesConfig, place: Place
    ) -> None:
        self._tokenizer = tokenizer
        self._precision = config.precision
        self._images = TrainingImages(
            source,
            DataConfig(
                resolution=config.resolution,
                corrupt_limit=config.corrupt_limit,
                shuffle_shards=config.shuffle_shards,
                mixture=config.mixture,
                workers=config.workers,
            ),
            place,
            view=FreshViews(config, place.steps * place.batch_size),
            device=tokenizer.device,
        )

    def progress(self, steps: int) -> dict[str, float]:
        """Say how often all processes have seen the images, and each source, after some steps."""
        return self._images.progress(steps)

    def __iter__(self) -> Iterator[CodeBatch]:
        """Yield a step's batch after the other."""
        for batch in self._images:
            codes = encode(self._tokenizer, batch.images, self._precision)
            packed = np.stack([np.frombuffer(row, np.uint8) for row in quantizer.pack(codes)])
            if batch.labels is None:
                raise TrainingError("images without a class: give a folder with one a class")
            yield CodeBatch(torch.from_numpy(packed), batch.labels, batch.unreadable)
