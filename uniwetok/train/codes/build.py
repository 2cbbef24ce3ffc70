"""Building the cache of codes: every view of every image, once; resumed after a kill."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from uniwetok.randomness import generator
from uniwetok.tokenizer import UniWeTok, quantizer
from uniwetok.train.ar.config import CodesConfig
from uniwetok.train.codes.blocks import (
    UNREADABLE,
    make_room,
    mark_pending,
    open_marks,
    pending_blocks,
)
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
from uniwetok.train.codes.encoding import encode
from uniwetok.train.codes.integrity import read_sealed, readable, with_checksums, write_sealed
from uniwetok.train.codes.views import center_view, random_view
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.data.reading import OnBlock
from uniwetok.train.data.source import ImageSource
from uniwetok.train.engine.settings import EncodingPrecision

_STATE_FILE = "codes.state.npy"
_ORIGIN_FILE = "codes.origin.json"
_ARRAY_PART = f"{ARRAY_FILE}.partial"
_BATCH = 80
"""Views that a GPU encodes at a time, at most: half a block of the usual ten an image."""


def build_codes(
    folder: Path,
    source: ImageSource,
    tokenizer: UniWeTok,
    origin: Origin,
    config: CodesConfig,
    classes: int,
    accelerator: Accelerator,
    on_block: OnBlock = lambda *_: None,
    *,
    stamp: str = "",
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
        on_block: called on the main process, assuming that all processes are as far.
        stamp: of the images, from before their content was read for ``origin``.

    Raises:
        TrainingError: an image has no class, or too many cannot be read.
    """
    labels = class_labels(source, classes)
    if accelerator.is_main_process:
        _start(folder, origin, len(source))
    accelerator.wait_for_everyone()
    array = np.load(folder / _ARRAY_PART, mmap_mode="r+", allow_pickle=False)
    marks = open_marks(folder / _STATE_FILE, len(source))
    for views in pending_blocks(
        marks,
        _Views(source, origin),
        accelerator,
        workers=config.workers,
        corrupt_limit=config.corrupt_limit,
        on_block=on_block,
    ):
        if views:
            array[list(views)] = _encode(tokenizer, views.values(), origin.precision)
            array.flush()
    if accelerator.is_main_process:
        missing = np.flatnonzero(marks == UNREADABLE).tolist()
        (folder / _ARRAY_PART).replace(folder / ARRAY_FILE)
        header = Header(origin=origin, labels=labels, unreadable=missing, stamp=stamp)
        write_header(folder, header)
        for name in (_ORIGIN_FILE, _STATE_FILE):
            (folder / name).unlink(missing_ok=True)
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
        with readable(folder):
            known = Origin(**read_sealed(begun))
        check_origin(folder, known, asdict(origin))
        return
    shape = array_shape(origin, images)

    def create() -> None:
        array = np.lib.format.open_memmap(folder / _ARRAY_PART, "w+", dtype=np.uint8, shape=shape)
        array.flush()
        mark_pending(folder / _STATE_FILE, images)

    what = f"codes of {images:,} images in {origin.views + CENTER_VIEWS} views"
    instead = "lower data.views, or encode --on-the-fly"
    make_room(folder, math.prod(shape), what, instead, create)
    write_sealed(begun, asdict(origin))


@dataclass(frozen=True)
class _Views:
    """Views of an image but for the mirror image: uint8 (views - 1, 3, side, side)."""

    source: ImageSource
    origin: Origin

    def __call__(self, index: int) -> Tensor:
        side, smallest = self.origin.resolution, self.origin.smallest_crop
        image = self.source.read(index)
        views = [
            random_view(image, side, smallest, generator("view", index, number))
            for number in range(self.origin.views)
        ]
        return torch.stack([*views, center_view(image, side)])


def _encode(
    tokenizer: UniWeTok, images: Iterable[Tensor], precision: EncodingPrecision
) -> np.ndarray:
    """Encode the views of a block's images: uint8 (images, views, bytes), with checksums."""
    views = [torch.cat([each, each[-1:].flip(-1)]) for each in images]
    device, each = tokenizer.device, len(views[0])
    rows: list[np.ndarray] = []
    for batch in batches(views, device.type):
        codes = encode(tokenizer, to_model_range(batch.to(device)), precision)
        rows += [np.frombuffer(packed, np.uint8) for packed in quantizer.pack(codes)]
    return np.stack(
        [with_checksums(np.stack(rows[at : at + each])) for at in range(0, len(rows), each)]
    )


def batches(views: Sequence[Tensor], device: str) -> Sequence[Tensor]:
    """Put the views of a block's images together to be encoded.

    A GPU takes them in equal batches, those of a block and of no other, so that a build that went
    on has the same codes. A CPU gains nothing by that, and takes an image's at a time.
    """
    if device != "cuda":
        return views
    whole = torch.cat(list(views))
    return whole.tensor_split(math.ceil(len(whole) / _BATCH))
