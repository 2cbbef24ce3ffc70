"""Features of images: one run of a network for all that read its outputs, and a cache on disk.

The cache holds features of originals and references, which are the same for every model evaluated.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.data.digests import Damaged, read_arrays
from harness.data.images import to_host, with_float64
from harness.interfaces import GeneratedImages, ImagePairs
from harness.interfaces.observing import Once, gpu_name
from harness.interfaces.types import canonical_json

if TYPE_CHECKING:
    from torch import Tensor

    from harness.metrics.networks import FeatureNetwork

Rows = dict[str, NDArray[np.float32]]
"""Features (B, d) by output."""

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
        digest.update(to_host(content.contiguous()).data)
        return digest.hexdigest()

    def key_of(self, name: str) -> str:
        """SHA-256 of the identity and of what names the images: a set's digest and places in it."""
        return hashlib.sha256(self._identity + name.encode()).hexdigest()

    def load(self, key: str, output: str, rows: int) -> NDArray[np.float32] | None:
        """The block's features, float32 (rows, width), or None where there is no whole file."""
        path = self._path(key, output)
        try:
            features = read_arrays(path)["features"]
            os.utime(path)
        except (Damaged, OSError, KeyError):
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
                    np.savez(file, features=features)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def _path(self, key: str, output: str) -> Path:
        return self._folder / key[:2] / f"{key}-{output}.npz"

    def _trim(self) -> None:
        if self._trimmed:
            return
        self._trimmed = True
        files = [(path.stat(), path) for path in self._folder.glob("*/*.np[yz]")]
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
    levels = ((with_float64(images).double() + 1) * 127.5).round().clamp(0, 255)
    if torch.equal((levels / 127.5 - 1).to(images), images):
        return levels.byte()
    return images


class SeenInputs:
    """Features of single inputs by the network's weights and the input's bytes."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], Rows] = {}
        self.inputs = 0
        """How many inputs networks have seen."""


_SEEN: ContextVar[SeenInputs | None] = ContextVar("_SEEN", default=None)


@contextlib.contextmanager
def inputs_seen_once() -> Iterator[SeenInputs]:
    """Within, in this thread, networks of equal weights see an input once; no file is read."""
    seen = SeenInputs()
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


class SharedNetwork:
    """A network as the extractors of its outputs share it: built once, run once for a block.

    A network computes all its outputs in any case: what an extractor asks for after another has
    asked for the same images is read from the run before. Originals and outputs run apart, so that
    the outputs' features have the same bits whether or not the originals' come from the cache, on a
    GPU too.
    """

    def __init__(
        self,
        build: Callable[[], FeatureNetwork],
        identity: Mapping[str, Any],
        device: str,
        folder: Path,
    ) -> None:
        self.network = Once(build)
        # The rule of an input lies in the input.
        self._weights = canonical_json({k: v for k, v in identity.items() if k != "input"})
        self.cache = Once(lambda: FeatureCache(folder, {**identity, **_machine(device)}))
        self._fresh = False
        self._kept: set[str] = set()
        self._asked: set[str] = set()
        self._lane = threading.local()

    def register(self, output: str, *, originals: bool) -> None:
        """Announce that an extractor will ask for an output, of the originals too or not."""
        self._asked.add(output)
        if originals:
            self._kept.add(output)

    def forget(self) -> None:
        """Compute everything again from now on, whatever the cache holds."""
        self._fresh = True

    def features(
        self, pairs: ImagePairs | GeneratedImages, output: str
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        """An output of originals (None if not announced or there are none) and of outputs.

        Both are float32 (B, d).
        """
        lane = self._lane
        if getattr(lane, "pairs", None) is not pairs:
            lane.reference, lane.rows = self._observe(pairs)
            lane.pairs, lane.open = pairs, set(self._asked)
        found = lane.reference.get(output), lane.rows[output]
        lane.open.discard(output)
        if not lane.open:
            # A block's images are not held until the next block comes.
            lane.pairs = lane.reference = lane.rows = None
        return found

    def remembered(
        self, key: str, outputs: Iterable[str], count: int, compute: Callable[[], Rows]
    ) -> Rows:
        """Features of `count` images under a key: from the cache, or computed and kept there."""
        found: Rows = {}
        for output in outputs:
            rows = None if self._fresh else self.cache().load(key, output, count)
            if rows is None:
                found = compute()
                for name, computed in found.items():
                    self.cache().save(key, name, computed)
                return found
            found[output] = rows
        return found

    def run(self, prepared: Tensor, outputs: Iterable[str]) -> Rows:
        """Run the network on prepared images."""
        features = self.network().extract(prepared)
        return {output: to_host(features[output]) for output in outputs}

    def _observe(self, pairs: ImagePairs | GeneratedImages) -> tuple[Rows, Rows]:
        unit = self.network().scaling == "unit"
        if isinstance(pairs, GeneratedImages):
            images = _unit(pairs.images) if unit else _channels_first(pairs.images_uint8)
            return {}, self._see(images, self._asked)
        decoded = (
            _unit(pairs.reconstruction) if unit else _channels_first(pairs.reconstruction_uint8)
        )
        reference: Rows = {}
        if self._kept:
            keyed = pairs.reference if unit else _channels_first(pairs.reference_uint8)
            originals = _unit(keyed) if unit else keyed
            if _SEEN.get() is not None:
                reference = self._see(originals, self._kept)
            else:
                reference = self.remembered(
                    self.cache().key(keyed),
                    self._kept,
                    len(keyed),
                    lambda: self._see(originals, self._kept),
                )
        return reference, self._see(decoded, self._asked)

    def _see(self, images: Tensor, outputs: Iterable[str]) -> Rows:
        prepared, seen = self.network().prepare(images), _SEEN.get()
        if seen is None:
            return self.run(prepared, outputs)
        keys = [
            (self._weights, hashlib.sha256(to_host(each.contiguous()).data).digest())
            for each in prepared
        ]
        new = {
            key: row
            for row, key in enumerate(keys)
            if not seen.rows.get(key, {}).keys() >= set(outputs)
        }
        if new:
            seen.inputs += len(new)
            found = self.run(prepared[list(new.values())], outputs)
            for place, key in enumerate(new):
                seen.rows[key] = {name: rows[place : place + 1] for name, rows in found.items()}
        return {name: np.concatenate([seen.rows[key][name] for key in keys]) for name in outputs}


def _machine(device: str) -> dict[str, str]:
    """What the last bits of features depend on beside network and images."""
    import torch

    return {
        "device": device.partition(":")[0],
        "processor": (
            f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
            if device == "cpu"
            else gpu_name(device)
        ),
        "torch": torch.__version__,
    }


def _unit(images: Tensor) -> Tensor:
    """From [-1, 1] to [0, 1]."""
    return (images + 1) / 2


def _channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    import torch

    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
