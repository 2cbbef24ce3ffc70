"""Bytes to RGB: one rule for every colour mode, named by the protocol."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from harness.interfaces.errors import DecodeError
from harness.interfaces.types import Record


class DecodeRule(Record):
    """How an encoded image becomes 8-bit RGB.

    Grey, palette and CMYK images are converted by Pillow's `convert("RGB")` under every rule.
    """

    exif: Literal["ignore", "apply"]
    """Whether the EXIF orientation turns the image; the released evaluation ignores it."""
    alpha: Literal["drop", "white"]
    """What becomes of transparency: colours as stored, or composited over white."""
    sixteen_bit: Literal["clip", "scale"]
    """16-bit grey: values above 255 clipped (Pillow's own conversion), or divided by 257."""


def decode_image(data: bytes, rule: DecodeRule) -> Image.Image:
    """Decode to an RGB image; raise `DecodeError` for anything Pillow cannot read whole."""
    # Other packages switch this on for the whole process, and half an image would pass for one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
        image.load()
        if rule.exif == "apply":
            image = ImageOps.exif_transpose(image)
        return to_rgb(image, rule)
    except UnidentifiedImageError as error:
        raise DecodeError("not an image that Pillow can read") from error
    except MemoryError:
        raise
    except Exception as error:
        # Damaged bytes make Pillow's decoders raise nearly any exception.
        raise DecodeError(f"unreadable or truncated image ({error})") from error


def to_rgb(image: Image.Image, rule: DecodeRule) -> Image.Image:
    """Convert any Pillow mode to RGB under the rule."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if rule.sixteen_bit == "scale" and image.mode in {"I", "I;16", "I;16B", "I;16L", "I;16N"}:
        grey = np.asarray(image, dtype=np.int64)
        image = Image.fromarray(np.clip((grey + 128) // 257, 0, 255).astype(np.uint8))
    if rule.alpha == "white" and image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
