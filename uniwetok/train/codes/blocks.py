"""Builds of codes in blocks of images, each marked on disk once it is written: a kill loses one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from uniwetok.files import replaced
from uniwetok.train import TrainingError
from uniwetok.train.codes.integrity import readable
from uniwetok.train.data.reading import OnBlock, check_readable, read_ahead
from uwt_images.listing import UnreadableImage

Marks = np.memmap[Any, np.dtype[np.uint8]]
"""uint8 (images,), mapped into memory that the processes share."""
Read = Callable[[int], Tensor]
"""Gives the pixels of an image by its number; raises `UnreadableImage`; may be pickled."""

BLOCK = 16
"""Images that are read, encoded and marked as done together."""
PENDING, DONE, UNREADABLE = 0, 0x0F, 0xF0
"""Marks of an image, so far apart that a flipped bit makes none of another; it is encoded anew."""


def make_room(
    folder: Path, size: int, what: str, instead: str, create: Callable[[], object]
) -> None:
    """Create the files of a build, if the disk has room for them.

    Args:
        folder: of the cache; created.
        size: bytes that the codes take.
        what: the codes, for the error.
        instead: what else to do where they do not fit, beside another folder.
        create: creates the files.

    Raises:
        TrainingError: the disk is too full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A mapped file takes its room only when it is written, where a full disk kills the process.
    free = shutil.disk_usage(folder).free
    if free < size:
        raise TrainingError(
            f"{folder}: {what} take {size / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; give "
            f"another --codes folder, {instead}"
        )
    try:
        create()
    except OSError as error:
        raise TrainingError(f"{folder}: no room for the codes ({error.strerror})") from error


def mark_pending(path: Path, images: int) -> None:
    """Create the file of marks, uint8 (images,)."""
    with replaced(path) as partial, partial.open("wb") as file:
        np.save(file, np.full(images, PENDING, np.uint8), allow_pickle=False)


def open_marks(path: Path, images: int) -> Marks:
    """Open what `mark_pending` created; raise `TrainingError` where it is damaged."""
    with readable(path.parent):
        marks: Marks = np.load(path, mmap_mode="r+", allow_pickle=False)
        if marks.dtype != np.uint8 or marks.shape != (images,):
            raise ValueError(f"{path.name} is damaged")
    return marks


def pending_blocks(
    marks: Marks,
    read: Read,
    accelerator: Accelerator,
    *,
    workers: int,
    corrupt_limit: float = 1.0,
    on_block: OnBlock = lambda *_: None,
) -> Iterator[dict[int, Tensor]]:
    """Yield this process's share of the pending images, a block at a time.

    Every process must go through all of it. A block is marked when the caller asks for the next
    one: by then its codes must be on disk.

    Args:
        marks: of all images.
        read: gives an image's pixels.
        accelerator: the processes, which share the blocks out.
        workers: processes that decode images.
        corrupt_limit: share of unreadable images above which the build stops.
        on_block: called on the main process, assuming that all processes are as far.

    Yields:
        What ``read`` gave of a block's readable images, by their numbers.

    Raises:
        TrainingError: too many images cannot be read.
    """
    images = len(marks)
    known = np.isin(marks, (DONE, UNREADABLE))
    starts = [start for start in range(0, images, BLOCK) if not known[start : start + BLOCK].all()]
    # No process may see the marks of this build while it still looks for gaps.
    accelerator.wait_for_everyone()
    share = starts[accelerator.process_index :: accelerator.num_processes]
    blocks = read_ahead(_Blocks(read, images, share), range(len(share)), workers)
    tried, unreadable, reason = 0, 0, ""
    for number, (start, block) in enumerate(blocks):
        found = {image: each for image, each in enumerate(block, start) if isinstance(each, Tensor)}
        yield found
        marks[start : start + len(block)] = UNREADABLE
        marks[list(found)] = DONE
        marks.flush()
        tried += len(block)
        unreadable += len(block) - len(found)
        reason = next((each for each in reversed(block) if isinstance(each, str)), reason)
        check_readable(unreadable, tried, corrupt_limit, f"last {reason}")
        if accelerator.is_main_process:
            left = len(starts) - min(len(starts), (number + 1) * accelerator.num_processes)
            on_block(max(0, images - left * BLOCK), images)
    accelerator.wait_for_everyone()


def left_out(
    lost: Sequence[int], images: int, read: Callable[[int], object] | None
) -> tuple[str, ...]:
    """Say how many images have no codes, and why the first has none; nothing where all have.

    Args:
        lost: numbers of those without.
        images: how many there are.
        read: gives an image by its number; None where only its codes are there.
    """
    if not lost:
        return ()
    first = f"number {lost[0]} of the codes"
    if read is not None:
        try:
            read(lost[0])
            first += ", which can be read by now: another --codes folder takes it in"
        except UnreadableImage as error:
            first = str(error)
    return (
        f"{len(lost):,} of {images:,} images could not be read and had to be left out; "
        f"first {first}",
    )


@dataclass(frozen=True)
class _Blocks(Dataset[tuple[int, list[Tensor | str]]]):
    """First image, and pixels or the reason why there are none, of each block still to do."""

    read: Read
    images: int
    starts: list[int]

    def __getitem__(self, place: int) -> tuple[int, list[Tensor | str]]:
        start = self.starts[place]
        stop = min(start + BLOCK, self.images)
        return start, [self._pixels(image) for image in range(start, stop)]

    def _pixels(self, image: int) -> Tensor | str:
        try:
            return self.read(image)
        except UnreadableImage as error:
            return str(error)
