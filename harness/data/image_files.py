"""The images of a generative run: a file a block while it goes on, then one `samples.npz`."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.data.store import Store

SAMPLES_FILE = "samples.npz"
"""`arr_0`, uint8 (N, H, W, 3) in the order of the samples, as ADM's evaluation reads it, and where
images are of classes `arr_1`, int64 (N,), as ADM's sampler writes it."""
_FOLDER = "images"


def has_images(store: Store, block: int) -> bool:
    """Whether a block's images are kept, or all blocks' are."""
    return (store.root / SAMPLES_FILE).is_file() or (store.root / _name(block)).is_file()


def write_images(store: Store, block: int, images: Sequence[np.ndarray]) -> None:
    """Keep a block's images, uint8 (H, W, 3) each."""
    stacked = np.stack(images)
    store.write(_name(block), lambda path: np.save(path, stacked, allow_pickle=False))


def join_images(store: Store, blocks: int, classes: Sequence[int] | None = None) -> Path:
    """Write all blocks' images as `samples.npz`, then remove them; do nothing where it is done.

    Args:
        store: the run's.
        blocks: of images.
        classes: one an image; None where they have none.
    """
    target = store.root / SAMPLES_FILE
    if not target.is_file():
        parts = [store.root / _name(block) for block in range(blocks)]
        store.write(SAMPLES_FILE, lambda path: _write_npz(path, parts, classes))
    shutil.rmtree(store.root / _FOLDER, ignore_errors=True)
    return target


def _name(block: int) -> str:
    return f"{_FOLDER}/{block:06d}.npy"


def _write_npz(path: Path, parts: Sequence[Path], classes: Sequence[int] | None) -> None:
    """Write the images uncompressed, a part at a time: 50,000 images do not fit into memory."""
    opened = [np.load(part, mmap_mode="r", allow_pickle=False) for part in parts]
    shape = (sum(len(part) for part in opened), *opened[0].shape[1:])
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            for part in opened:
                member.write(np.ascontiguousarray(part).data)
        if classes is not None:
            with archive.open("arr_1.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(classes, dtype=np.int64))
