"""The UniWeTok image tokenizer: 64 binary tokens of 128 bits for a 256x256 image."""

from __future__ import annotations

from uniwetok.tokenizer.checkpoint import CheckpointError, LoadReport
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.tokenizer.model import UniWeTok

__all__ = ["CheckpointError", "LoadReport", "UniWeTok", "UniWeTokConfig"]
