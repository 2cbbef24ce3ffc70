"""Packed rows of sequences, the same whatever reads them and wherever it starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from uniwetok.mllm.batch import Batch, collate
from uniwetok.mllm.layout import SequenceBuilder
from uniwetok.tokenizer import UniWeTok
from uniwetok.train import TrainingError
from uniwetok.train.data.reading import read_ahead
from uniwetok.train.data.schedule import Place
from uniwetok.train.mllm.config import SequenceData
from uniwetok.train.mllm.data.codes import ImageCodes, encode_pixels
from uniwetok.train.mllm.data.index import SampleIndex
from uniwetok.train.mllm.data.layout import Draws, segments
from uniwetok.train.mllm.data.mixed import MixedRecords
from uniwetok.train.mllm.data.packing import PackedOrder
from uniwetok.train.mllm.data.records import KINDS, Record, RecordError
from uniwetok.train.mllm.data.sizes import resized
from uniwetok.train.mllm.data.source import RecordSource, read_image
from uwt_images.listing import UnreadableImage


@dataclass(frozen=True, eq=False)
class Row:
    """Sequences packed into one row."""

    batch: Batch
    """The row as a batch of one."""
    kinds: Tensor
    """(samples,) int64: places in `KINDS`."""


@dataclass(frozen=True, eq=False)
class PackedRows:
    """One step's rows of one process."""

    rows: list[Row]
    unreadable: int
    """Samples that are left out, for an image could not be read."""

    def __len__(self) -> int:
        """Return the number of tokens."""
        return sum(row.batch.tokens for row in self.rows)


@dataclass
class PackedStream:
    """An endless stream of `PackedRows`, a pure function of records, settings, seed and step.

    Step s takes rows [s * batch_size, (s + 1) * batch_size) of `PackedOrder`, rank r the r-th equal
    part of them. What is left out or turned round is drawn from (seed, epoch, sample), the epoch
    being that of the sample's source.

    Raises:
        TrainingError: no sample can be used; while iterating: too many images are unreadable, or a
            record was changed.
    """

    source: RecordSource
    index: SampleIndex
    """Of all samples."""
    config: SequenceData
    """How records become sequences."""
    builder: SequenceBuilder
    """Lays sequences out."""
    images: ImageCodes | UniWeTok
    """The cache of codes, or the tokenizer that encodes on the way."""
    place: Place
    """Where this process stands."""

    def __post_init__(self) -> None:
        usable, _ = self.index.usable(self.config)
        limit, seed = self.config.row_tokens, self.place.seed
        ends: list[int] = []
        if isinstance(self.source, MixedRecords):
            ends = np.cumsum(self.source.sizes).tolist()
        self._order = PackedOrder(usable, self.index.tokens, limit, seed, self.config.mixture, ends)
        cache = self.images if isinstance(self.images, ImageCodes) else None
        self._steps = _Steps(self.source, self.index, self.config, self._order, cache, self.place)

    def progress(self, steps: int) -> dict[str, float]:
        """Say how often all processes have seen the samples, and each source, after some steps."""
        return self._order.progress(steps * self.place.batch_size)

    def __iter__(self) -> Iterator[PackedRows]:
        """Yield a step's rows after the other."""
        steps = range(self.place.start, sys.maxsize)
        seen = unreadable = 0
        for rows in read_ahead(self._steps, steps, self.config.workers):
            if isinstance(rows, str):
                raise TrainingError(rows)
            lost = [read.lost for row in rows for read in row if read.lost]
            seen += sum(len(row) for row in rows)
            unreadable += len(lost)
            if lost and unreadable > max(1, self.config.corrupt_limit * seen):
                raise TrainingError(
                    f"{unreadable} of {seen} samples have unreadable images, more than "
                    f"data.corrupt_limit={self.config.corrupt_limit}; last {lost[-1]}; repair or "
                    f"remove them, or raise data.corrupt_limit"
                )
            yield self._assemble(rows, len(lost))

    def _assemble(self, rows: list[list[_Read]], lost: int) -> PackedRows:
        kept = [[read for read in row if not read.lost] for row in rows]
        if not all(kept):
            # Leaving the row out would let this process fall out of step with the others.
            raise TrainingError("a row has no readable sample left; repair or remove the records")
        return PackedRows([self._row(row) for row in kept], lost)

    def _row(self, row: list[_Read]) -> Row:
        images = [image for read in row for image in read.images]
        if not isinstance(self.images, ImageCodes):
            images = encode_pixels(self.images, images, self.config.precision)
        left = iter(images)
        sequences = [
            self.builder.build(segments(read.record, [next(left) for _ in read.images], read.draws))
            for read in row
        ]
        kinds = torch.tensor([KINDS.index(read.record.kind) for read in row])
        return Row(collate([sequences]), kinds)


@dataclass(frozen=True, eq=False)
class _Read:
    """One sample on its way between processes."""

    record: Record
    draws: Draws
    images: list[Tensor]
    """Codes, or uint8 pixels that are still to be encoded."""
    lost: str = ""
    """Why an image cannot be read."""


@dataclass(frozen=True)
class _Steps(Dataset[list[list[_Read]] | str]):
    """What a rank reads, by step; an error as its message."""

    source: RecordSource
    index: SampleIndex
    config: SequenceData
    order: PackedOrder
    cache: ImageCodes | None
    place: Place

    def __getitem__(self, step: int) -> list[list[_Read]] | str:
        place = self.place
        each = place.batch_size // place.world
        first = step * place.batch_size + place.rank * each
        try:
            return [self._read_row(position) for position in range(first, first + each)]
        except TrainingError as error:
            return str(error)
        except RecordError as error:
            return f"a record was changed during the run: {error}; resume from the last checkpoint"

    def _read_row(self, position: int) -> list[_Read]:
        return [self._read(epoch, sample) for epoch, sample in self.order.row(position)]

    def _read(self, epoch: int, sample: int) -> _Read:
        record = self.source.record(sample)
        draws = Draws.at(self.config, self.place.seed, epoch, sample)
        if self.cache is not None:
            codes = self.cache.read(sample)
            if codes is None:
                file, line = self.source.where(sample)
                return _Read(record, draws, [], f"{file}:{line}")
            return _Read(record, draws, codes)
        sizes = self.index.image_sizes(sample)
        try:
            pixels = [
                resized(read_image(self.source, sample, picture.name), size)
                for picture, size in zip(record.pictures, sizes, strict=True)
            ]
        except UnreadableImage as error:
            return _Read(record, draws, [], str(error))
        return _Read(record, draws, pixels)
