"""The cache of all images' codes, of any sizes: built once, resumed after a kill.

```
FOLDER/image-codes.bin         bits of all images one after the other, eight a byte, and the CRC-32
                               of each image's behind them
FOLDER/image-codes.state.npy   until all are done, uint8 (images,): pending, done or unreadable
FOLDER/image-codes.json        what they depend on and, once all are done, which are unreadable
```
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from uniwetok.tokenizer import UniWeTok, quantizer
from uniwetok.tokenizer.model import encoder_digest
from uniwetok.train import TrainingError
from uniwetok.train.codes.blocks import (
    UNREADABLE,
    left_out,
    make_room,
    mark_pending,
    open_marks,
    pending_blocks,
)
from uniwetok.train.codes.encoding import encode
from uniwetok.train.codes.integrity import (
    CHECKSUM,
    read_sealed,
    readable,
    with_checksums,
    without_checksums,
    write_sealed,
)
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.data.reading import OnBlock
from uniwetok.train.engine.settings import EncodingPrecision
from uniwetok.train.mllm.config import SequenceData
from uniwetok.train.mllm.data.index import SampleIndex
from uniwetok.train.mllm.data.sizes import resized
from uniwetok.train.mllm.data.source import RecordSource, read_image

_ARRAY_FILE, _STATE_FILE, _ORIGIN_FILE = (
    f"image-codes.{suffix}" for suffix in ("bin", "state.npy", "json")
)
_MOST_PIXELS = 4 * 1024 * 1024
"""Encoded at a time."""


def encode_pixels(
    tokenizer: UniWeTok, pixels: Sequence[Tensor], precision: EncodingPrecision
) -> list[Tensor]:
    """Encode images of many sizes, those of one size together.

    Args:
        tokenizer: in evaluation mode.
        pixels: uint8 (3, height, width) each.
        precision: of the encoder.

    Returns:
        (latent_channels, rows, columns) each, +1 or -1, on the CPU.
    """
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, image in enumerate(pixels):
        by_size[tuple(image.shape)].append(place)
    codes: dict[int, Tensor] = {}
    for shape, places in by_size.items():
        count = max(1, _MOST_PIXELS // (shape[1] * shape[2]))
        for start in range(0, len(places), count):
            chosen = places[start : start + count]
            images = to_model_range(torch.stack([pixels[place] for place in chosen]))
            encoded = encode(tokenizer, images, precision).float().cpu()
            codes |= dict(zip(chosen, encoded, strict=True))
    return [codes[place] for place in range(len(pixels))]


@dataclass(frozen=True, eq=False)
class ImageCodes:
    """A whole cache, mapped into memory."""

    array: NDArray[np.uint8]
    unreadable: NDArray[np.bool_]
    """(images,)"""
    index: SampleIndex
    layout: Layout

    def notices(self, source: RecordSource) -> tuple[str, ...]:
        """Say which of the source's images have no codes."""
        lost = np.flatnonzero(self.unreadable).tolist()
        return left_out(lost, len(self.unreadable), _Pixels(source, self.index))

    def read(self, sample: int) -> list[Tensor] | None:
        """Return the codes of a sample's images, or None where one was unreadable.

        Raises:
            TrainingError: they are not those that were written.
        """
        images = self.index.image_rows(sample)
        if self.unreadable[images].any():
            return None
        return [self._image(image) for image in images.tolist()]

    def _image(self, image: int) -> Tensor:
        start, stop = self.layout.offsets[image : image + 2].tolist()
        file = getattr(self.array, "filename", _ARRAY_FILE)
        packed = without_checksums(
            self.array[start:stop][None], lambda _: f"{file}: the codes of image {image}"
        )
        rows, columns = (self.index.sizes[image] // self.layout.side).tolist()
        codes = torch.from_numpy(packed)
        return quantizer.unpack_bytes(codes, (rows, columns), self.layout.bits)[0]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each image's codes lie."""

    offsets: NDArray[np.int64]
    """(images + 1,) in bytes."""
    side: int
    """Pixels along a side of a token."""
    bits: int
    """Bits of a token."""

    @classmethod
    def of(cls, index: SampleIndex, tokenizer: UniWeTok) -> Layout:
        """Reckon it from the images' sizes."""
        side, bits = tokenizer.config.downsample, tokenizer.config.latent_channels
        sizes = np.prod(index.sizes.astype(np.int64) // side, axis=1) * -(-bits // 8) + CHECKSUM
        return cls(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), side, bits)


def build_image_codes(
    folder: Path,
    source: RecordSource,
    index: SampleIndex,
    tokenizer: UniWeTok,
    accelerator: Accelerator,
    config: SequenceData,
    on_block: OnBlock = lambda *_: None,
) -> ImageCodes:
    """Encode every image, or what is still missing; every process must call this.

    Args:
        folder: of the cache, the same place for all processes.
        source: the records.
        index: their images' sizes.
        tokenizer: in evaluation mode, on this process's device.
        accelerator: the processes, which share the work.
        config: precision of the encoder, and processes that decode images.
        on_block: called on the main process with images done and all.

    Raises:
        TrainingError: the folder holds other or damaged codes, or the disk is too full.
    """
    layout = Layout.of(index, tokenizer)
    if accelerator.is_main_process:
        _start(folder, encoder_digest(tokenizer), config.precision, index, layout)
    accelerator.wait_for_everyone()
    images, size = len(index.sizes), int(layout.offsets[-1])
    if not images:
        return ImageCodes(np.empty(0, np.uint8), np.empty(0, np.bool_), index, layout)
    header = _header(folder)
    if header["unreadable"] is None:
        with readable(folder):
            array = np.memmap(folder / _ARRAY_FILE, np.uint8, mode="r+", shape=(size,))
        marks = open_marks(folder / _STATE_FILE, images)
        pixels = _Pixels(source, index)
        for found in pending_blocks(
            marks, pixels, accelerator, workers=config.workers, on_block=on_block
        ):
            encoded = encode_pixels(tokenizer, list(found.values()), config.precision)
            for image, codes in zip(found, encoded, strict=True):
                at = slice(*layout.offsets[image : image + 2].tolist())
                packed = np.frombuffer(quantizer.pack(codes[None])[0], np.uint8)
                array[at] = with_checksums(packed[None])[0]
            array.flush()
        if accelerator.is_main_process:
            lost = np.flatnonzero(marks == UNREADABLE).tolist()
            write_sealed(folder / _ORIGIN_FILE, {**header, "unreadable": lost})
            (folder / _STATE_FILE).unlink()
        accelerator.wait_for_everyone()
        header = _header(folder)
    with readable(folder):
        whole = np.memmap(folder / _ARRAY_FILE, np.uint8, mode="r", shape=(size,))
    unreadable = np.zeros(images, np.bool_)
    unreadable[header["unreadable"]] = True
    return ImageCodes(whole, unreadable, index, layout)


def _header(folder: Path) -> dict[str, Any]:
    with readable(folder):
        return read_sealed(folder / _ORIGIN_FILE)


def _start(
    folder: Path, encoder: str, precision: EncodingPrecision, index: SampleIndex, layout: Layout
) -> None:
    """Make room for the codes, unless those of the same are here."""
    path = folder / _ORIGIN_FILE
    known = _header(folder) if path.is_file() else {}
    if known and known["encoder"] != encoder:
        raise TrainingError(
            f"{folder}: these codes were made by another tokenizer; give that one, or another "
            f"--codes folder"
        )
    # Older caches do not say it: they are of float32.
    made = known.get("precision", "float32")
    if known and made != precision:
        raise TrainingError(
            f"{folder}: these codes were made with precision={made}, asked for is "
            f"precision={precision}; give another --codes folder"
        )
    if known and index.stamp and known["stamp"] == index.stamp:
        return
    data = index.content()
    if known and known["data"] != data:
        raise TrainingError(
            f"{folder}: these codes are of other data (records, images' content or sizes differ); "
            f"give another --codes folder"
        )
    if not known:
        size = int(layout.offsets[-1])

        def create() -> None:
            with (folder / _ARRAY_FILE).open("wb") as file:
                file.truncate(size)
            mark_pending(folder / _STATE_FILE, len(index.sizes))

        make_room(folder, size, "the images' codes", "or --set data.cache=false", create)
    now = {"encoder": encoder, "precision": precision, "data": data, "stamp": index.stamp}
    write_sealed(path, {"unreadable": None, **known, **now})


@dataclass(frozen=True)
class _Pixels:
    """An image resized to its place in the layout: uint8 (3, height, width)."""

    source: RecordSource
    index: SampleIndex

    def __call__(self, image: int) -> Tensor:
        sample, place = self.index.homes[image].tolist()
        height, width = self.index.sizes[image].tolist()
        picture = self.source.record(sample).pictures[place]
        return resized(read_image(self.source, sample, picture.name), (height, width))
