"""What training reads images from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uwt_images.decoding import load_image
from uwt_images.listing import UnreadableImage

_NAMES = 10_000


class ImageSource(Protocol):
    """Images by number, 0 to len() - 1; may be pickled, and read from several processes."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    @property
    def parts(self) -> NDArray[np.int64]:
        """Numbers of images, in order, of the files that hold them: a shard each, or one folder.

        `EpochOrder` reads a few parts at a time.
        """
        ...

    def files(self) -> Iterator[Path]:
        """Yield the files that hold the images, in order: what changes when an image does."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user must know of the listing, a line each: choices and damage."""
        ...

    def read(self, index: int, covering: tuple[int, int] | None = None) -> Image.Image:
        """Decode an image to 8-bit RGB.

        Args:
            index: of the image.
            covering: height and width that a JPEG may be decoded down to; see `load_image`.

        Raises:
            UnreadableImage: the image cannot be read whole.
        """
        ...

    def label(self, index: int) -> int | None:
        """Return the class of an image, where it has one."""
        ...

    def id(self, index: int) -> str:
        """Return the unique name of an image within the source."""
        ...


def listing_digest(source: ImageSource) -> str:
    """SHA-256 that tells a source from one that has grown, lost images or been exchanged.

    Of the number of images in each file and the names of at most 10,000 of them: no image is read,
    and what changed under its name does not show.
    """
    digest = hashlib.sha256(source.parts.tobytes())
    for index in np.linspace(0, len(source) - 1, min(len(source), _NAMES)).astype(int):
        digest.update(f"{source.id(int(index))}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


def decode_rgb(data: bytes, covering: tuple[int, int] | None = None) -> Image.Image:
    """Decode to 8-bit RGB with Pillow's own conversion; EXIF orientation and alpha are dropped.

    Args:
        data: of the file.
        covering: height and width that a JPEG may be decoded down to; see `load_image`.

    Raises:
        UnreadableImage: the bytes are no image, a truncated one, or one too large for Pillow.
    """
    try:
        image = load_image(data, covering)
        if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
            image = image.convert("RGBA")  # The same pixels; Pillow warns about the direct way.
        return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:
        # A damaged palette makes Pillow raise nearly any exception.
        raise UnreadableImage(f"not a readable image ({error})") from error
