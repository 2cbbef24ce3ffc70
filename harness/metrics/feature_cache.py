"""Features of reference images, kept on disk: they are the same for every model evaluated."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces.types import canonical_json

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 4 << 30
"""Bytes above which the files that were used longest ago are removed."""


class FeatureCache:
    """Features by the content of a block of images and everything else that decides their bits.

    A file holds one output of one block: 8 KiB an image for pool3, so 410 MB for the 50,000 images
    of ImageNet's validation set, and as much for the spatial features where they are asked for.
    Blocks of another protocol, device, torch version or choice of images are other files. The first
    write of a process removes the files used longest ago above `LIMIT`, so the folder never holds
    more than that and what one run adds. A folder that cannot be written, or a file that cannot be
    read, costs time and nothing else.

    Args:
        folder: Where the files lie; made at the first write.
        identity: What the features depend on beside the images: weights, input rule, device,
            torch version.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        self._identity = canonical_json(dict(identity)).encode()
        self._trimmed = False

    def key(self, images: Tensor) -> str:
        """SHA-256 (64 hex digits) of the identity and the images' shape and values.

        Args:
            images: uint8, or float32 in [-1, 1], of any shape.
        """
        content = _levels(images)
        digest = hashlib.sha256(self._identity)
        digest.update(f"{content.dtype} {tuple(content.shape)} of {images.dtype}".encode())
        digest.update(content.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def load(self, key: str, output: str, rows: int) -> NDArray[np.float32] | None:
        """The block's features, float32 (rows, width), or None where there is no whole file."""
        path = self._path(key, output)
        try:
            features = np.load(path, allow_pickle=False)
            os.utime(path)
        except (OSError, ValueError, EOFError):
            return None
        whole = features.dtype == np.float32 and features.ndim == 2 and len(features) == rows
        return features if whole else None

    def save(self, key: str, output: str, features: NDArray[np.float32]) -> None:
        """Keep a block's features; what the file system refuses is not kept."""
        path = self._path(key, output)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._trim()
            descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    np.save(file, features, allow_pickle=False)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def _path(self, key: str, output: str) -> Path:
        return self._folder / key[:2] / f"{key}-{output}.npy"

    def _trim(self) -> None:
        if self._trimmed:
            return
        self._trimmed = True
        files = [(path.stat(), path) for path in self._folder.glob("*/*.npy")]
        total = sum(stat.st_size for stat, _ in files)
        for stat, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
            if total <= LIMIT:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size


def _levels(images: Tensor) -> Tensor:
    """8-bit levels where they say the same as the floats, which are four times as much to hash."""
    import torch

    if images.dtype == torch.uint8:
        return images
    levels = ((images.double() + 1) * 127.5).round().clamp(0, 255)
    if torch.equal((levels / 127.5 - 1).to(images.dtype), images):
        return levels.byte()
    return images
