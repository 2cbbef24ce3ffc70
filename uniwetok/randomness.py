"""Random streams by address, such as (seed, "step", 17): nothing drawn before moves them.

So a resumed run draws what it would have drawn, whatever process or step asks.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def stream_seed(*address: int | str) -> int:
    """Give the seed in [0, 2**63) of a stream, addressed by run seed, purpose, step and so on."""
    text = "\0".join(str(part) for part in address)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(*address: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Give torch's generator of the stream with this address."""
    return torch.Generator(device).manual_seed(stream_seed(*address))


def generator(*address: int | str) -> np.random.Generator:
    """Give NumPy's generator of the stream with this address."""
    return np.random.Generator(np.random.PCG64(stream_seed(*address)))
