"""The cache of all images' codes, of any sizes: made once, a killed build goes on.

```
FOLDER/image-codes.bin         bits of all images one after the other, eight a byte
FOLDER/image-codes.state.npy   uint8 (images,): pending, done or unreadable
FOLDER/image-codes.json        what they depend on
```
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uniwetok.files import replaced, write_json
from uniwetok.tokenizer import quantizer
from uniwetok.tokenizer.model import encoder_digest
from uniwetok.train import TrainingError
from uniwetok.train.data.source import UnreadableImage
from uniwetok.train.mllm.data.encoding import encode_pixels
from uniwetok.train.mllm.data.index import OnBlock, SampleIndex
from uniwetok.train.mllm.data.sizes import resized
from uniwetok.train.mllm.data.source import RecordSource, read_image

if TYPE_CHECKING:
    from uniwetok.tokenizer import UniWeTok

_PENDING, _DONE, _UNREADABLE = range(3)
_BLOCK = 16
"""Images that are read, encoded and marked together."""
_ARRAY_FILE, _STATE_FILE, _ORIGIN_FILE = (
    f"image-codes.{suffix}" for suffix in ("bin", "state.npy", "json")
)


class ImageCodes:
    """A whole cache, mapped into memory."""

    def __init__(
        self, array: NDArray[np.uint8], state: NDArray[np.uint8], index: SampleIndex, layout: Layout
    ) -> None:
        self._array = array
        self._state = state
        self._index = index
        self._layout = layout

    def read(self, sample: int) -> list[Tensor] | None:
        """Return the codes of a sample's images, or None where one was unreadable."""
        images = self._index.image_rows(sample)
        if (self._state[images] != _DONE).any():
            return None
        return [self._image(image) for image in images.tolist()]

    def _image(self, image: int) -> Tensor:
        start, stop = self._layout.offsets[image : image + 2].tolist()
        packed = torch.from_numpy(self._array[start:stop].copy())[None]
        rows, columns = (self._index.sizes[image] // self._layout.side).tolist()
        return quantizer.unpack_bytes(packed, (rows, columns), self._layout.bits)[0]


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
        sizes = np.prod(index.sizes.astype(np.int64) // side, axis=1) * -(-bits // 8)
        return cls(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), side, bits)


def build_image_codes(
    folder: Path,
    source: RecordSource,
    index: SampleIndex,
    tokenizer: UniWeTok,
    accelerator: Accelerator,
    workers: int,
    on_block: OnBlock = lambda *_: None,
) -> ImageCodes:
    """Encode every image, or what is still missing; every process must call this.

    Args:
        folder: of the cache, the same place for all processes.
        source: the records.
        index: their images' sizes.
        tokenizer: in evaluation mode, on this process's device.
        accelerator: the processes, which share the work.
        workers: processes that decode images.
        on_block: called on the main process with images done and all.

    Raises:
        TrainingError: the folder holds other codes, or the disk is too full.
    """
    layout = Layout.of(index, tokenizer)
    if accelerator.is_main_process:
        origin = {"encoder_sha256": encoder_digest(tokenizer), "samples": index.digest}
        _start(folder, origin, layout)
    accelerator.wait_for_everyone()
    if not len(index.sizes):
        empty = np.empty(0, np.uint8)
        return ImageCodes(empty, empty, index, layout)
    array = np.memmap(folder / _ARRAY_FILE, np.uint8, mode="r+")
    state = np.load(folder / _STATE_FILE, mmap_mode="r+", allow_pickle=False)
    todo = [
        start
        for start in range(0, len(index.sizes), _BLOCK)
        if (state[start : start + _BLOCK] == _PENDING).any()
    ]
    # No process may see the marks of this build while it still looks for gaps.
    accelerator.wait_for_everyone()
    share = todo[accelerator.process_index :: accelerator.num_processes]
    loader = DataLoader(
        _Blocks(source, index, share),
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator(),
    )
    for number, (start, pixels) in enumerate(loader):
        found = [place for place, image in enumerate(pixels) if image is not None]
        encoded = encode_pixels(tokenizer, [image for image in pixels if image is not None])
        for place, codes in zip(found, encoded, strict=True):
            at = slice(*layout.offsets[start + place : start + place + 2].tolist())
            array[at] = np.frombuffer(quantizer.pack(codes[None])[0], np.uint8)
        array.flush()
        state[start : start + len(pixels)] = [
            _UNREADABLE if image is None else _DONE for image in pixels
        ]
        state.flush()
        if accelerator.is_main_process:
            left = len(todo) - min(len(todo), (number + 1) * accelerator.num_processes)
            on_block(max(0, len(index.sizes) - left * _BLOCK), len(index.sizes))
    accelerator.wait_for_everyone()
    return ImageCodes(array, state, index, layout)


def _start(folder: Path, origin: dict[str, str], layout: Layout) -> None:
    """Make room for the codes, unless those of the same are here."""
    begun = folder / _ORIGIN_FILE
    if begun.is_file():
        try:
            known = json.loads(begun.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TrainingError(f"{begun}: not readable ({error}); remove its folder") from error
        if known != origin:
            what = "of another tokenizer" if known["samples"] == origin["samples"] else "otherwise"
            raise TrainingError(
                f"{folder}: these codes were made {what} or of other data; give another --codes "
                f"folder"
            )
        return
    size, free = int(layout.offsets[-1]), shutil.disk_usage(folder).free
    if free < size:
        raise TrainingError(
            f"{folder}: the images' codes take {size / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; "
            f"give another --codes folder, or --set data.cache=false"
        )
    with (folder / _ARRAY_FILE).open("wb") as file:
        file.truncate(size)
    with replaced(folder / _STATE_FILE) as partial, partial.open("wb") as file:
        np.save(file, np.full(len(layout.offsets) - 1, _PENDING, np.uint8), allow_pickle=False)
    write_json(begun, origin)


class _Blocks(Dataset[tuple[int, list[Tensor | None]]]):
    """Pixels of all images of each block that is still to do."""

    def __init__(self, source: RecordSource, index: SampleIndex, starts: list[int]) -> None:
        self._source = source
        self._index = index
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: int) -> tuple[int, list[Tensor | None]]:
        start = self._starts[place]
        stop = min(start + _BLOCK, len(self._index.sizes))
        return start, [self._pixels(image) for image in range(start, stop)]

    def _pixels(self, image: int) -> Tensor | None:
        sample, place = self._index.homes[image].tolist()
        height, width = self._index.sizes[image].tolist()
        picture = self._source.record(sample).pictures[place]
        try:
            return resized(read_image(self._source, sample, picture.name), (height, width))
        except UnreadableImage:
            return None
