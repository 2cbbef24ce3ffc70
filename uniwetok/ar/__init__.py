"""BitDance, the class-to-image autoregressive model over the tokenizer's binary tokens."""

from __future__ import annotations

from uniwetok.ar.config import PRESETS, BitDanceConfig
from uniwetok.ar.guidance import Guidance
from uniwetok.ar.model import BitDance
from uniwetok.ar.sampler import sample

__all__ = ["PRESETS", "BitDance", "BitDanceConfig", "Guidance", "sample"]
