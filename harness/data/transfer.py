"""Between the processor's memory and a GPU's: through pinned pages, waiting for nothing.

On a processor none of it happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


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


def to_host(values: Tensor) -> np.ndarray:
    """The values in the processor's memory, once the current stream has come so far."""
    import torch

    if values.device.type != "cuda":
        return values.cpu().numpy()
    staged = staging(values, values.device).copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return staged.numpy()
