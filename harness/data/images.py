"""Bytes to RGB by the protocol's rule, 8-bit RGB to the floats that models take, and back.

Where the floats are a GPU's, bytes go there and back through pinned pages, waiting for nothing.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps, _imaging

from harness.interfaces.errors import DecodeError
from harness.interfaces.types import Record
from uwt_images.decoding import load_image
from uwt_images.listing import UnreadableImage

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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


def read_image(path: Path | str) -> bytes:
    """The bytes of a picture's file; raise `DecodeError` where they cannot be read."""
    from uwt_images.listing import read_image_file

    try:
        return read_image_file(path)
    except UnreadableImage as error:
        raise DecodeError(str(error)) from error


def decode_image(data: bytes, rule: DecodeRule) -> Image.Image:
    """Decode to an RGB image; raise `DecodeError` for anything that is no whole picture."""
    try:
        image = load_image(data)
        if rule.exif == "apply":
            image = ImageOps.exif_transpose(image)
        return to_rgb(image, rule)
    except UnreadableImage as error:
        raise DecodeError(str(error)) from error
    except MemoryError:
        raise
    except Exception as error:
        # Damaged EXIF data make Pillow raise nearly any exception.
        raise DecodeError(f"unreadable or truncated image ({error})") from error


def to_rgb(image: Image.Image, rule: DecodeRule) -> Image.Image:
    """Convert any Pillow mode to RGB under the rule; raise `DecodeError` for no number."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        raise DecodeError("a pixel is no finite number")
    if rule.sixteen_bit == "scale" and image.mode in {"I", "I;16", "I;16B", "I;16L", "I;16N"}:
        grey = np.asarray(image, dtype=np.int64)
        image = Image.fromarray(np.clip((grey + 128) // 257, 0, 255).astype(np.uint8))
    if rule.alpha == "white" and image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def to_array(image: Image.Image) -> np.ndarray:
    """What `np.asarray` gives: of RGB uint8 (H, W, 3).

    Pillow packs pixels with Python's lock held, most of what a decoded JPEG needs of it. It lends
    them at four bytes each, of which NumPy takes three while other threads go on.
    """
    if image.mode == "RGB" and _imaging.get_alignment() == 1:  # Else its rows lie apart.
        import pyarrow as pa

        with contextlib.suppress(ValueError):  # It lies in several blocks, as one above 16 MB does.
            lent = np.frombuffer(pa.array(image).values.buffers()[1], np.uint8)
            pixels = np.empty((image.height, image.width, 3), np.uint8)
            levels = pixels.reshape(-1)
            for band in range(3):  # All three at once take four times as long.
                levels[band::3] = lent[band::4]
            return pixels
    return np.asarray(image)


Compression = Literal["none", "jpeg-95", "jpeg-75"]
"""How a data set that was prepared beforehand was stored: lossless, or as Pillow's JPEG."""


def compressed(image: Image.Image, how: Compression) -> Image.Image:
    """The image after it was stored so; RGB."""
    return image if how == "none" else as_jpeg(image, int(how.removeprefix("jpeg-")))


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image after Pillow's JPEG of that quality, its chroma at half the resolution; RGB."""
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=quality)
    return Image.open(buffer).convert("RGB")


Rounding = Literal["round", "truncate", "half-up"]
"""Rounds to the nearest level with ties to even; to the one below; to the integer part of
127.5 x + 128."""


def to_float(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W) in [-1, 1]: v / 127.5 - 1, rounded once.

    It is (2v - 255) / 255, whose numerator is exact, so that the division alone rounds.
    """
    import torch

    planes = images.transpose(0, 3, 1, 2)
    if torch.device(device).type == "cpu":
        # Looked up it is twice as fast; an image at a time stays in the processor's cache.
        values = np.empty(planes.shape, np.float32)
        for image, target in zip(planes, values, strict=True):
            np.take(_levels(), image, out=target, mode="clip")
        return torch.from_numpy(values)
    return _scaled(to_device(torch.from_numpy(planes), device))


def _scaled(levels: Tensor) -> Tensor:
    import torch

    # By a tensor: a GPU would multiply by the rounded inverse of a number.
    whole = torch.tensor(255.0, device=levels.device)
    return levels.float().mul_(2).sub_(whole).div_(whole)


@functools.cache
def _levels() -> np.ndarray:
    """What each of the 256 levels is as float32."""
    import torch

    levels: np.ndarray = _scaled(torch.arange(256)).numpy()
    return levels


def through_float(images: np.ndarray, rule: Rounding) -> np.ndarray:
    """uint8 images after `to_float` and `to_uint8`: under `truncate` 95 levels fall by one."""
    import torch

    table = to_uint8(torch.from_numpy(_levels()).expand(3, 1, 256), rule)[0, :, 0]
    return np.stack([np.take(table, image, mode="clip") for image in images])


def to_uint8(images: Tensor, rule: Rounding = "round") -> np.ndarray:
    """float32 (..., 3, H, W) in [-1, 1], clamped, to uint8 (..., H, W, 3)."""
    if images.ndim > 3 and len(images) and images.device.type == "cpu":
        # One at a time stays in the processor's cache: four times as fast as all at once.
        return np.stack([to_uint8(image, rule) for image in images])
    levels = images * 127.5 + 128 if rule == "half-up" else (images + 1) * 127.5
    if rule == "round":
        levels = levels.round()
    # A cast to an unsigned integer truncates.
    return to_host(levels.clamp(0, 255).byte().movedim(-3, -1).contiguous())


_OVERSHOT = 32.0
"""The largest value that passes for one meant to lie in [-1, 1]; levels of 0 to 255 go beyond."""


LEAST_VALUES: ContextVar[list[float] | None] = ContextVar("LEAST_VALUES", default=None)
"""Where `decoded` leaves its batch's least value, once an image; nowhere if None."""


def decoded(images: Tensor) -> Tensor:
    """Clamp a decoder's output to float32 in [-1, 1].

    Raises:
        ValueError: it is no tensor of real floating-point numbers, or one is not finite, or so far
            outside that it is of another scale, as levels of 0 to 255 are.
    """
    import torch

    if not isinstance(images, torch.Tensor):
        kind = type(images).__name__
        raise ValueError(f"decode gave {kind}, not a tensor of floating-point numbers in [-1, 1]")
    if not images.is_floating_point():  # Levels of 0 to 255 would all be white.
        kind = str(images.dtype).removeprefix("torch.")
        raise ValueError(f"decode gave {kind}, not floating-point numbers in [-1, 1]")
    if images.numel():
        # Both at once, for a GPU is waited for; of a NaN among the values they are NaN.
        low, high = torch.stack(images.aminmax()).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("decode gave values that are not finite")
        if max(-low, high) > _OVERSHOT:
            raise ValueError(f"decode gave values from {low:g} to {high:g}: give them in [-1, 1]")
        if (seen := LEAST_VALUES.get()) is not None:
            seen += [low] * images.shape[:1].numel()
    return images.float().clamp(-1, 1)


def to_images(images: Tensor) -> list[Image.Image]:
    """float32 (B, 3, H, W) in [-1, 1] to RGB images, rounded to the nearest of 256 levels."""
    return [Image.fromarray(pixels) for pixels in to_uint8(images)]


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size to float32 (B, 3, H, W) in [-1, 1]."""
    return to_float(np.stack([np.asarray(image.convert("RGB")) for image in images]))


def whole_picture(path: Path) -> bool:
    """Check that a PNG file is there, by the checksums that it carries."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.verify()
    except Exception:  # Damaged bytes make Pillow raise nearly any exception.
        return False
    return True


def staging(like: Tensor, device: torch.device) -> Tensor:
    """Memory of a tensor's shape and dtype that copies to or from a device go through.

    It may be dropped while a copy is under way: torch gives it to nobody before that has ended.
    """
    import torch

    return torch.empty(like.shape, dtype=like.dtype, pin_memory=device.type == "cuda")


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """The values on a device; a GPU gets them in the order of the current stream, unwaited for."""
    import torch

    device = torch.device(device)
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return staging(values, device).copy_(values).to(device, non_blocking=True)


def with_float64(values: Tensor) -> Tensor:
    """The values where float64 is known: Apple's GPUs have none, so those go to the processor."""
    return values.cpu() if values.device.type == "mps" else values


def to_host(values: Tensor) -> np.ndarray:
    """The values in the processor's memory, once the current stream has come so far."""
    import torch

    if values.device.type != "cuda":
        return values.cpu().numpy()
    staged = staging(values, values.device).copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return staged.numpy()
