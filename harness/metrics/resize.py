"""The resizes that Inception protocols use before the network, each under its own name."""

from __future__ import annotations

import functools

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from harness.data.images import with_float64
from harness.metrics.checks import check_images


def tf1_bilinear(images: torch.Tensor, side: int) -> torch.Tensor:
    """Resize as TensorFlow 1's ``ResizeBilinear`` does: source = target * in / out, no antialias.

    Equal bit for bit on a CPU to torch-fidelity 0.4's ``interpolate_bilinear_2d_like_tensorflow1x``
    (the ``adm`` and ``torch-fidelity`` protocols).

    Args:
        images: (B, 3, H, W), uint8 or float32.
        side: height and width of the result in pixels.

    Returns:
        float32 (B, 3, side, side) in the values' range, channels-last in memory.

    Raises:
        ValueError: wrong shape.
    """
    check_images(images, "images")
    # Pixels of a column, then of a row, are contiguous when they are gathered.
    columns = images.permute(0, 3, 2, 1).to(torch.float32).contiguous()
    rows = _lerp(columns, side).transpose(1, 2).contiguous()
    return _lerp(rows, side).permute(0, 3, 1, 2)


def bilinear(images: torch.Tensor, side: int) -> torch.Tensor:
    """Resize as pytorch-fid 0.3 and WeTok do: half-pixel bilinear without antialias.

    Args:
        images: float32 (B, 3, H, W).
        side: height and width of the result in pixels.

    Returns:
        float32 (B, 3, side, side) in the values' range.

    Raises:
        ValueError: wrong shape.
    """
    check_images(images, "images")
    return functional.interpolate(
        images.to(torch.float32), size=(side, side), mode="bilinear", align_corners=False
    )


def pil_bicubic(images: torch.Tensor, side: int) -> torch.Tensor:
    """Resize as clean-fid 0.1.35 does: Pillow's antialiased bicubic (a = -0.5) on floats.

    Within 1e-7 of Pillow in mode F, relative Frobenius norm. Values overshoot the range of the
    input; clean-fid clamps them to [0, 255] afterwards.

    Args:
        images: (B, 3, H, W), uint8 or float32.
        side: height and width of the result in pixels.

    Returns:
        float32 (B, 3, side, side), not clamped.

    Raises:
        ValueError: wrong shape.
    """
    check_images(images, "images")
    # Pillow computes weights and sums in float64; float32 would be off by 2e-6 on large images.
    resized = functional.interpolate(
        with_float64(images).to(torch.float64),
        size=(side, side),
        mode="bicubic",
        align_corners=False,
        antialias=True,
    )
    return resized.to(images.device, torch.float32)


def pil_bytes(images: torch.Tensor, side: int, *, crop: bool = False) -> torch.Tensor:
    """Resize as Pillow does 8-bit pictures: antialiased bicubic, rounded to whole levels.

    Args:
        images: uint8 (B, 3, H, W).
        side: height and width of the result in pixels.
        crop: whether the central square is cut out first; else both sides are scaled apart.

    Returns:
        uint8 (B, 3, side, side) on the images' device.

    Raises:
        ValueError: wrong shape or dtype.
    """
    check_images(images, "images")
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}; this input rule takes uint8")
    resized = []
    for array in images.permute(0, 2, 3, 1).cpu().numpy():
        picture = Image.fromarray(np.ascontiguousarray(array))
        if crop and picture.width != picture.height:
            short = min(picture.size)
            left, top = ((length - short) // 2 for length in picture.size)
            picture = picture.crop((left, top, left + short, top + short))
        resized.append(np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)))
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(images.device)


def _lerp(lines: torch.Tensor, side: int) -> torch.Tensor:
    """Interpolate along axis 1 of a float32 (B, n, m, 3) tensor on TensorFlow 1's grid."""
    below, above, weight = _neighbours(lines.shape[1], side, lines.device)
    start = lines.index_select(1, below)
    end = lines.index_select(1, above)
    return end.sub_(start).mul_(weight).add_(start)


@functools.lru_cache(maxsize=1024)  # A GPU would be waited for at each copy.
def _neighbours(
    count: int, side: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where each of `side` places lies among `count`: those below and above it, and how far."""
    step = torch.tensor(count / side, dtype=torch.float32)
    position = torch.arange(side, dtype=torch.float32) * step
    below = position.long()
    above = (below + 1).clamp_max(count - 1)
    weight = (position - below.float()).view(-1, 1, 1)
    return below.to(device), above.to(device), weight.to(device)
