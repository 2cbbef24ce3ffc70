"""From encoded bytes to a Pillow image: raster formats only, and whole ones."""

from __future__ import annotations

import io

from PIL import Image, ImageFile, UnidentifiedImageError

from uwt_images.errors import UnreadableImage
from uwt_images.whole import missing_end

RASTER_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
"""Pillow's names. It knows more: PostScript, which starts Ghostscript, and players of a kind."""


def load_image(data: bytes) -> Image.Image:
    """Decode an image in the mode that it is stored in.

    Raises:
        UnreadableImage: It is of no raster format, not whole, or so large that it may be a bomb.
    """
    # Other packages switch this on for the whole process, and half an image would pass for one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=RASTER_FORMATS)
        if lacking := missing_end(data):
            raise UnreadableImage(f"truncated or damaged image ({lacking})")
        image.load()
    except UnidentifiedImageError as error:
        raise UnreadableImage("not an image that Pillow can read") from error
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # Damaged bytes make Pillow's decoders raise nearly any exception.
        raise UnreadableImage(f"unreadable or truncated image ({error})") from error
    return image
