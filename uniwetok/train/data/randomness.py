"""Random numbers that depend on what they are for, and on nothing that was drawn before."""

from __future__ import annotations

import numpy as np

from uniwetok.randomness import stream_seed


def generator(*address: int | str) -> np.random.Generator:
    """Give NumPy's generator of an address, such as (seed, "crop", epoch, index)."""
    return np.random.Generator(np.random.PCG64(stream_seed(*address)))
