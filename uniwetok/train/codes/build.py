"""Building the cache of codes: every view of every image, once; resumed after a kill."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uniwetok.files import replaced, write_json
from uniwetok.randomness import generator
from uniwetok.tokenizer import quantizer
from uniwetok.train import TrainingError
from uniwetok.train.codes.cache import (
    ARRAY_FILE,
    CENTER_VIEWS,
    Codes,
    Header,
    Origin,
    array_shape,
    check_origin,
    class_labels,
    open_codes,
    write_header,
)
from uniwetok.train.codes.config import CodesConfig
from uniwetok.train.codes.views import center_view, random_view
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.data.source import ImageSource, UnreadableImage

if TYPE_CHECKING:
    from uniwetok.tokenizer import UniWeTok

OnBlock = Callable[[int, int], None]
"""Called with the images that are encoded and the number of all."""

_BLOCK = 16
"""Images that are read, encoded and marked as done together."""
_PENDING, _DONE, _UNREADABLE = range(3)
_READS_BEFORE_STOP = 100
_STATE_FILE = "codes.state.npy"
_ORIGIN_FILE = "codes.origin.json"
_ARRAY_PART = f"{ARRAY_FILE}.partial"


def build_codes(
    folder: Path,
    source: ImageSource,
    tokenizer: UniWeTok,
    origin: Origin,
    config: CodesConfig,
    classes: int,
    accelerator: Accelerator,
    on_block: OnBlock = lambda *_: None,
) -> Codes:
    """Encode every view of every image, or what is still missing of it.

    Every process must call this; they share the blocks out and write into one file, so that
    ``folder`` must be the same place for all.

    Args:
        folder: of the cache.
        source: the images.
        tokenizer: in evaluation mode, on this process's device.
        origin: what the codes depend on.
        config: the views, and when unreadable images stop the work.
        classes: that the model has.
        accelerator: the processes.
        on_block: called on the main process, with all processes' work reckoned alike.

    Raises:
        TrainingError: an image has no class, or too many cannot be read.
    """
    labels = class_labels(source, classes)
    if accelerator.is_main_process:
        _start(folder, origin, len(source))
    accelerator.wait_for_everyone()
    array = np.load(folder / _ARRAY_PART, mmap_mode="r+", allow_pickle=False)
    state = np.load(folder / _STATE_FILE, mmap_mode="r+", allow_pickle=False)
    starts = [
        start
        for start in range(0, len(source), _BLOCK)
        if (state[start : start + _BLOCK] == _PENDING).any()
    ]
    # No process may see the marks of this build while it still looks for gaps.
    accelerator.wait_for_everyone()
    share = starts[accelerator.process_index :: accelerator.num_processes]
    loader = DataLoader(
        _Blocks(source, origin, share),
        batch_size=None,
        num_workers=config.workers,
        generator=torch.Generator(),
    )
    read = unreadable = 0
    for number, block in enumerate(loader):
        stop = block.start + len(block.readable)
        if block.readable.any():
            array[block.start : stop][block.readable] = _encode(tokenizer, block)
            array.flush()
        state[block.start : stop] = np.where(block.readable, _DONE, _UNREADABLE)
        state.flush()
        read += len(block.readable)
        unreadable += int((~block.readable).sum())
        if read >= _READS_BEFORE_STOP and unreadable > config.corrupt_limit * read:
            raise TrainingError(
                f"{unreadable} of {read} images could not be read, more than "
                f"data.corrupt_limit={config.corrupt_limit}; last {block.reason}; repair or remove "
                "them, or raise data.corrupt_limit"
            )
        if accelerator.is_main_process:
            before = len(source) - len(starts) * _BLOCK
            done = before + (number + 1) * _BLOCK * accelerator.num_processes
            on_block(min(max(0, done), len(source)), len(source))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        missing = np.flatnonzero(state == _UNREADABLE).tolist()
        _finish(folder, Header(origin=origin, labels=labels, unreadable=missing))
    accelerator.wait_for_everyone()
    codes = open_codes(folder)
    assert codes is not None
    return codes


def _start(folder: Path, origin: Origin, images: int) -> None:
    """Make room for the codes, unless the same build was begun here.

    Raises:
        TrainingError: another build was begun here, or the disk is too full.
    """
    begun = folder / _ORIGIN_FILE
    if begun.is_file():
        check_origin(folder, _origin(begun), asdict(origin))
        return
    folder.mkdir(parents=True, exist_ok=True)
    # A mapped file takes its room only when it is written, where a full disk kills the process.
    size, free = math.prod(array_shape(origin, images)), shutil.disk_usage(folder).free
    if free < size:
        raise TrainingError(
            f"{folder}: codes of {images:,} images in {origin.views + CENTER_VIEWS} views take "
            f"{size / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; give another --codes folder, "
            f"lower data.views, or encode --on-the-fly"
        )
    try:
        np.lib.format.open_memmap(
            folder / _ARRAY_PART, "w+", dtype=np.uint8, shape=array_shape(origin, images)
        ).flush()
        with replaced(folder / _STATE_FILE) as partial, partial.open("wb") as file:
            np.save(file, np.full(images, _PENDING, np.uint8), allow_pickle=False)
    except OSError as error:
        raise TrainingError(f"{folder}: no room for the codes ({error.strerror})") from error
    write_json(begun, asdict(origin))


def _origin(path: Path) -> Origin:
    try:
        return Origin(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{path}: not readable ({error}); remove its folder") from error


def _finish(folder: Path, header: Header) -> None:
    (folder / _ARRAY_PART).replace(folder / ARRAY_FILE)
    write_header(folder, header)
    for name in (_ORIGIN_FILE, _STATE_FILE):
        (folder / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Block:
    start: int
    pixels: Tensor
    """uint8 (readable images, views - 1, 3, side, side): the mirror image is made later."""
    readable: np.ndarray
    """bool (images,)."""
    reason: str


class _Blocks(Dataset[_Block]):
    """Views of the images of each block that is still to do."""

    def __init__(self, source: ImageSource, origin: Origin, starts: list[int]) -> None:
        self._source = source
        self._origin = origin
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: int) -> _Block:
        start = self._starts[place]
        stop = min(start + _BLOCK, len(self._source))
        side = self._origin.resolution
        views: list[Tensor] = []
        reason = ""
        readable = np.ones(stop - start, bool)
        for row, index in enumerate(range(start, stop)):
            try:
                views.append(self._views(index))
            except UnreadableImage as error:
                readable[row], reason = False, str(error)
        shape = (0, self._origin.views + 1, 3, side, side)
        pixels = torch.stack(views) if views else torch.empty(shape, dtype=torch.uint8)
        return _Block(start, pixels, readable, reason)

    def _views(self, index: int) -> Tensor:
        origin = self._origin
        image = self._source.read(index)
        views = [
            random_view(
                image,
                origin.resolution,
                origin.smallest_crop,
                generator("view", index, number),
            )
            for number in range(origin.views)
        ]
        return torch.stack([*views, center_view(image, origin.resolution)])


def _encode(tokenizer: UniWeTok, block: _Block) -> np.ndarray:
    """Encode a block that has images, one's views at a time: uint8 (images, views, bytes)."""
    rows = []
    for views in block.pixels:
        images = to_model_range(torch.cat([views, views[-1:].flip(-1)]))
        codes = tokenizer.encode(images.to(tokenizer.device))
        packed = [np.frombuffer(each, np.uint8) for each in quantizer.pack(codes)]
        rows.append(np.stack(packed))
    return np.stack(rows)
