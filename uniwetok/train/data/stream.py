"""Batches of training images, the same whatever reads them and wherever it starts."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from uniwetok.randomness import generator
from uniwetok.train import TrainingError
from uniwetok.train.data.augment import cut, to_model_range
from uniwetok.train.data.config import Crop, DataConfig
from uniwetok.train.data.mixed import parts_of
from uniwetok.train.data.mixing import MixedOrder
from uniwetok.train.data.reading import check_readable, read_ahead
from uniwetok.train.data.schedule import Place, Schedule
from uniwetok.train.data.source import ImageSource
from uwt_images.listing import UnreadableImage

View = Callable[[Image.Image, tuple[int, int], np.random.Generator, int], torch.Tensor]
"""Cuts uint8 (3, height, width) from an image, with draws of its own, at a position."""

_MOST_IN_A_ROW = 1000


@dataclass(frozen=True)
class Batch:
    """One step's images of one process."""

    images: torch.Tensor
    """float32 (B, 3, H, W) in [-1, 1], on the stream's device."""
    ids: list[str]
    """Names of the images within their source."""
    labels: torch.Tensor | None
    """int64 (B,), or None where an image has no class."""
    unreadable: int
    """Images that could not be read and whose places others took."""
    weight: float = 1.0
    """Of this batch's mean loss among those of all processes, see `Share`."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)


class TrainingImages:
    """An endless stream of `Batch`, a pure function of source, settings, seed, rank and step.

    Step s takes the positions of `Schedule` from the endless sequence of `MixedOrder`;
    a source smaller than a batch comes again within it. The crop of a position is drawn from
    (seed of its source, epoch, image). So neither ``config.workers`` nor the step where the stream
    starts changes a batch, and at one resolution any number of processes covers the same global
    batch. The place of an unreadable image goes to the next readable one of its epoch. Iterating
    leaves torch's random state alone.

    Args:
        source: what to read.
        config: resolution or buckets, crop, workers, and when unreadable images stop training.
        place: where this process stands.
        view: cuts images in place of ``config.crop``; it must allow to be pickled.
        device: where the images go. They travel as bytes, to a GPU out of pinned memory while it
            computes, and become floats there.

    Raises:
        TrainingError: ``batch_size`` does not divide among the processes; while iterating: too
            large a share of the images read since the start is unreadable, or a worker failed.
    """

    def __init__(
        self,
        source: ImageSource,
        config: DataConfig,
        place: Place,
        view: View | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._schedule = Schedule(
            config, batch_size=place.batch_size, seed=place.seed, world=place.world
        )
        self._order = MixedOrder(
            parts_of(source), config.mixture, seed=place.seed, shuffle_shards=config.shuffle_shards
        )
        self._steps = _Steps(
            source, self._order, self._schedule, place.rank, view or _Cut(config.crop), config.draft
        )
        self._config = config
        self._start = place.start

    def progress(self, steps: int) -> dict[str, float]:
        """Say how often all processes have seen the images, and each source, after some steps."""
        return self._order.progress(self._schedule.share(steps, 0).first)

    def __iter__(self) -> Iterator[Batch]:
        steps = range(self._start, sys.maxsize)
        read, unreadable, first = 0, 0, ""
        pinned = self._device.type == "cuda"
        for result in read_ahead(self._steps, steps, self._config.workers, pinned=pinned):
            if isinstance(result, _Failure):
                raise result.error()
            read += len(result.ids) + result.unreadable
            unreadable += result.unreadable
            first = first or result.first_unreadable
            check_readable(unreadable, read, self._config.corrupt_limit, f"first {first}")
            yield Batch(
                to_model_range(result.pixels.to(self._device, non_blocking=True)),
                result.ids,
                result.labels,
                result.unreadable,
                result.weight,
            )


@dataclass(frozen=True)
class _Read:
    """A batch on its way between processes, in the 8 bits that it was decoded to."""

    pixels: torch.Tensor
    ids: list[str]
    labels: torch.Tensor | None
    unreadable: int
    first_unreadable: str
    weight: float

    def pin_memory(self) -> _Read:
        """Give the same with pixels that a GPU reads while the processor goes on."""
        return replace(self, pixels=self.pixels.pin_memory())


@dataclass(frozen=True)
class _Failure:
    """An error on its way between processes; raised there, torch would wrap it in a traceback."""

    message: str
    trace: str = ""

    def error(self) -> TrainingError:
        error = TrainingError(self.message)
        if self.trace:
            error.add_note(self.trace)
        return error


@dataclass(frozen=True)
class _Cut:
    """The tokenizer's crop."""

    crop: Crop

    def __call__(
        self, image: Image.Image, size: tuple[int, int], rng: np.random.Generator, position: int
    ) -> torch.Tensor:
        del position
        return cut(image, size, self.crop, rng)


class _Steps(Dataset[_Read | _Failure]):
    """What a rank reads, by step."""

    def __init__(
        self,
        source: ImageSource,
        order: MixedOrder,
        schedule: Schedule,
        rank: int,
        view: View,
        draft: bool,
    ) -> None:
        self._source = source
        self._order = order
        self._schedule = schedule
        self._rank = rank
        self._view = view
        self._draft = draft

    def __getitem__(self, step: int) -> _Read | _Failure:
        try:
            return self._read_step(step)
        except TrainingError as error:
            return _Failure(str(error))
        except Exception as error:
            message = (
                f"the images of step {step} could not be read: {type(error).__name__}: {error}"
            )
            return _Failure(message, traceback.format_exc())

    def _read_step(self, step: int) -> _Read:
        share = self._schedule.share(step, self._rank)
        pixels = torch.empty((share.count, 3, *share.size), dtype=torch.uint8)
        ids: list[str] = []
        labels: list[int | None] = []
        failures: list[str] = []
        for row in range(share.count):
            index, pixels[row] = self._read_position(share.first + row, share.size, failures)
            ids.append(self._source.id(index))
            labels.append(self._source.label(index))
        known = [label for label in labels if label is not None]
        return _Read(
            pixels,
            ids,
            torch.tensor(known) if len(known) == len(labels) else None,
            len(failures),
            failures[0] if failures else "",
            share.weight,
        )

    def _read_position(
        self, position: int, size: tuple[int, int], failures: list[str]
    ) -> tuple[int, torch.Tensor]:
        """Read the image at a position, or the next of its epoch that can be read.

        The crop is always that of the image first asked for: one that stands in for another is not
        seen twice with the same crop.
        """
        source, own = self._order.locate(position)
        order, first = self._order.orders[source], self._order.firsts[source]
        images = order.images
        epoch, place = divmod(own, images)
        wanted = order.index(own)
        most = min(images, _MOST_IN_A_ROW)
        for further in range(most):
            index = first + order.index(epoch * images + (place + further) % images)
            rng = generator(order.seed, "crop", epoch, wanted)
            try:
                image = self._source.read(index, size if self._draft else None)
                return index, self._view(image, size, rng, position)
            except UnreadableImage as error:
                failures.append(str(error))
        raise TrainingError(
            f"{most} images in a row could not be read, of {images} in all; first {failures[-most]}"
        )
