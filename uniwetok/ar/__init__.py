"""BitDance, the class-to-image autoregressive model over the tokenizer's binary tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniwetok.lazy import lazy

if TYPE_CHECKING:
    from uniwetok.ar.config import PRESETS, BitDanceConfig
    from uniwetok.ar.guidance import Guidance
    from uniwetok.ar.model import BitDance
    from uniwetok.ar.sampler import sample
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "PRESETS": "config",
            "BitDance": "model",
            "BitDanceConfig": "config",
            "Guidance": "guidance",
            "sample": "sampler",
        },
    )

__all__ = ["PRESETS", "BitDance", "BitDanceConfig", "Guidance", "sample"]
