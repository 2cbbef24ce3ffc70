"""The samples of a run: which images, in which order, with which content, in which blocks.

Blocks are fixed runs of neighbours, the unit that is computed, written and resumed. They depend on
the sample order alone, so a network sees the same batches whatever the number of processes and
wherever a run was cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from PIL import ExifTags, Image

from harness.data.digests import DigestCache
from harness.interfaces.errors import DecodeError, UserError
from harness.interfaces.types import Sample, digest_of
from uwt_images.decoding import RASTER_FORMATS

T = TypeVar("T")

CPU_BLOCK = 4
"""Samples that a CPU works on together, and least in a block: seconds of work."""
GPU_BLOCK = 64
"""The same on a GPU, unless a larger batch is asked for: what a metric's network takes at once."""
_BLOCKS = (CPU_BLOCK, 16, GPU_BLOCK, 2 * GPU_BLOCK, 6 * GPU_BLOCK)
_MOST_BLOCKS = 400
"""Blocks above which they are made larger, for each leaves a file a stage: 50,000 samples and four
extractors 1,955 files, 1.28 million 16,685. What is lost when a run is killed grows with them."""
_THREADS = 8
_A_THREAD = 64
_AT_ONCE = 16_384
"""Images that are read before their digests are kept, and how many of them a thread takes."""
UNREADABLE = "unreadable"
"""Stands for the digest of an image whose bytes cannot be read."""


class ImageSource(Protocol):
    """Named encoded images with random access; safe to read from several threads."""

    def ids(self) -> Sequence[str]:
        """All image ids, sorted and unique."""
        ...

    def read(self, image_id: str) -> bytes:
        """The encoded bytes; raise `DecodeError` where they cannot be read."""
        ...

    def container(self, image_id: str) -> tuple[str, str]:
        """The path of the image's file, and its part there ('' where it is the whole file)."""
        ...


_opened: ContextVar[dict[Any, Any] | None] = ContextVar("_opened", default=None)


@contextlib.contextmanager
def frozen_data() -> Iterator[None]:
    """List each place once within: what a command writes, or others change, alters no later run."""
    token = _opened.set({})
    try:
        yield
    finally:
        _opened.reset(token)


def opened() -> dict[Any, Any]:
    """What has been opened since data were frozen, to be added to; nothing where they are not."""
    known = _opened.get()
    return {} if known is None else known


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

    Raises:
        UserError: A name is not UTF-8, which neither records nor tables can hold.
    """
    for name in source.ids():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            place, part = source.container(name)
            where = f"{place}, {name}" if part else place
            raise UserError(f"{where}: this file's name is not UTF-8, rename it") from error
    ids = choose(source.ids(), limit)
    digests = _facts(source, ids, "stamped", _digest, on_progress)
    return [
        Sample(id=image_id, index=index, sha256=digests[image_id])
        for index, image_id in enumerate(ids)
    ]


_FACTS: WeakKeyDictionary[ImageSource, dict[str, dict[str, str]]] = WeakKeyDictionary()
"""Facts by source and kind: while one is open its images stay those that were read first."""


def _facts(
    source: ImageSource,
    ids: Sequence[str],
    kind: str,
    read: Callable[[ImageSource, str], str],
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """What `read` finds in each image, from the cache of its kind where files are unchanged."""
    facts = _FACTS.setdefault(source, {}).setdefault(kind, {})
    cache = DigestCache(kind=kind)
    places = {image_id: source.container(image_id) for image_id in ids if image_id not in facts}
    known = cache.known_of({path for path, _ in places.values()})
    missing = []
    for image_id, (place, part) in places.items():
        if part in known[place]:
            facts[image_id] = known[place][part]
        else:
            missing.append(image_id)

    def read_all(some: Sequence[str]) -> list[str]:
        return [read(source, image_id) for image_id in some]

    done = 0
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        # A part at a time, so that what was read is kept where the rest is not.
        for some in blocks(missing, _AT_ONCE):
            found = pool.map(read_all, blocks(some, _A_THREAD))
            for image_id, fact in zip(some, itertools.chain.from_iterable(found), strict=True):
                facts[image_id] = fact
                done += 1
                if on_progress is not None:
                    on_progress(done, len(missing))
            cache.remember(
                (*places[image_id], facts[image_id])
                for image_id in some
                if facts[image_id] != UNREADABLE
            )
    return facts


def _digest(source: ImageSource, image_id: str) -> str:
    try:
        return hashlib.sha256(source.read(image_id)).hexdigest()
    except DecodeError:
        return UNREADABLE


def image_sizes(
    source: ImageSource, ids: Sequence[str], *, turned: bool = False
) -> list[tuple[int, int] | None]:
    """Width and height of each image, read off its header once; None of one without.

    Args:
        source: The images.
        ids: Which of them.
        turned: Whether they are those after the image is turned as its EXIF data say.
    """
    sizes = _facts(source, ids, *(("sizes_turned", _turned_size) if turned else ("sizes", _size)))
    found = (sizes[image_id].split("x") for image_id in ids)
    return [(int(size[0]), int(size[1])) if len(size) == 2 else None for size in found]


def _size(source: ImageSource, image_id: str) -> str:
    try:
        with Image.open(io.BytesIO(source.read(image_id)), formats=RASTER_FORMATS) as image:
            return f"{image.width}x{image.height}"
    except Exception:  # Damaged bytes make Pillow raise nearly any exception.
        return UNREADABLE


_TURNED_PNG = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""One of them stands in a PNG that says how it is turned."""


def _turned_size(source: ImageSource, image_id: str) -> str:
    try:
        data = source.read(image_id)
        with Image.open(io.BytesIO(data), formats=RASTER_FORMATS) as image:
            width, height = image.size
            # Pillow decodes a PNG to find EXIF data, which may stand behind the pixels.
            may_turn = image.format != "PNG" or any(mark in data for mark in _TURNED_PNG)
            if may_turn and image.getexif().get(ExifTags.Base.Orientation) in range(5, 9):
                width, height = height, width
            return f"{width}x{height}"
    except Exception:  # As above.
        return UNREADABLE


def dataset_digest(samples: Sequence[Sample]) -> str:
    """SHA-256 over ids and contents in order: the digest of exactly what was evaluated."""
    return digest_of([[sample.id, sample.sha256] for sample in samples])


def step_size(device: str, batch: int = 1) -> int:
    """Samples that are in memory together, for a model that takes so many; blocks are multiples."""
    return CPU_BLOCK if device == "cpu" else -(-batch // GPU_BLOCK) * GPU_BLOCK


def block_size(device: str, samples: int, batch: int = 1) -> int:
    """Samples a block on `device`, of so many in all: some whole batches."""
    step = step_size(device, batch)
    sizes = sorted({-(-size // step) * step for size in _BLOCKS})
    return next((size for size in sizes if samples <= size * _MOST_BLOCKS), sizes[-1])


def blocks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut items into runs of `size`; the last may be shorter."""
    if size < 1:
        raise ValueError(f"block size must be at least 1, got {size}")
    return [items[start : start + size] for start in range(0, len(items), size)]
