"""The samples of a run: which images, in which order, with which content, in which blocks.

Blocks are fixed runs of neighbours, the unit that is computed, written and resumed. They depend on
the sample order alone, so a network sees the same batches whatever the number of processes and
wherever a run was cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from harness.data.digests import DigestCache
from harness.interfaces.errors import DecodeError
from harness.interfaces.types import Sample, digest_of

if TYPE_CHECKING:
    from harness.data.sources import ImageSource

T = TypeVar("T")

CPU_BLOCK = 4
"""Samples a block on a CPU: seconds of work, so that little is lost when a run is killed."""
GPU_BLOCK = 64
"""Samples a block on a GPU: the largest batch one forward pass may get."""
UNREADABLE = "unreadable"
"""Stands for the digest of an image whose bytes cannot be read."""


def choose(ids: Sequence[str], limit: int | None) -> list[str]:
    """All ids, or a fixed choice of `limit` in their order; a smaller choice lies in a larger one.

    The choice goes by a hash of the id, so that it spreads over classes sorted by name.
    """
    if limit is None or limit >= len(ids):
        return list(ids)
    ranked = sorted(ids, key=lambda image_id: hashlib.sha256(image_id.encode()).digest())
    kept = set(ranked[:limit])
    return [image_id for image_id in ids if image_id in kept]


def list_samples(
    source: ImageSource,
    limit: int | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Sample]:
    """The chosen images as samples; content digests come from the cache where files are unchanged.

    Args:
        source: The images.
        limit: How many to choose; all where None.
        on_progress: Called with (done, total) while images are read.
    """
    ids = choose(source.ids(), limit)
    digests = _content_digests(source, ids, on_progress)
    return [
        Sample(id=image_id, index=index, sha256=digests[image_id])
        for index, image_id in enumerate(ids)
    ]


_DIGESTS: WeakKeyDictionary[ImageSource, dict[str, str]] = WeakKeyDictionary()
"""Digests by source: while one is open its images stay those that were read first."""


def _content_digests(
    source: ImageSource, ids: Sequence[str], on_progress: Callable[[int, int], None] | None
) -> dict[str, str]:
    digests = _DIGESTS.setdefault(source, {})
    cache = DigestCache()
    known: dict[Path, Mapping[str, str]] = {}
    missing = []
    for image_id in ids:
        if image_id in digests:
            continue
        path, part = source.container(image_id)
        if path not in known:
            try:
                known[path] = cache.known(path)
            except OSError:
                known[path] = {}  # Reading it will say what is wrong.
        if part in known[path]:
            digests[image_id] = known[path][part]
        else:
            missing.append(image_id)
    with ThreadPoolExecutor(max_workers=8) as pool:
        for done, (image_id, digest) in enumerate(
            zip(missing, pool.map(lambda item: _digest(source, item), missing), strict=True), 1
        ):
            digests[image_id] = digest
            if on_progress is not None:
                on_progress(done, len(missing))
    cache.remember(
        (*source.container(image_id), digests[image_id])
        for image_id in missing
        if digests[image_id] != UNREADABLE
    )
    return digests


def _digest(source: ImageSource, image_id: str) -> str:
    try:
        return hashlib.sha256(source.read(image_id)).hexdigest()
    except DecodeError:
        return UNREADABLE


def dataset_digest(samples: Sequence[Sample]) -> str:
    """SHA-256 over ids and contents in order: the digest of exactly what was evaluated."""
    return digest_of([[sample.id, sample.sha256] for sample in samples])


def block_size(device: str) -> int:
    """Samples a block on `device`."""
    return CPU_BLOCK if device == "cpu" else GPU_BLOCK


def blocks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut items into runs of `size`; the last may be shorter."""
    if size < 1:
        raise ValueError(f"block size must be at least 1, got {size}")
    return [items[start : start + size] for start in range(0, len(items), size)]
