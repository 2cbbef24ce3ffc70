"""The UniWeTok image tokenizer: 64 binary tokens of 128 bits for a 256x256 image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniwetok.lazy import lazy

if TYPE_CHECKING:
    from uniwetok.tokenizer.checkpoint import CheckpointError, LoadReport
    from uniwetok.tokenizer.config import UniWeTokConfig
    from uniwetok.tokenizer.model import UniWeTok
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "CheckpointError": "checkpoint",
            "LoadReport": "checkpoint",
            "UniWeTok": "model",
            "UniWeTokConfig": "config",
        },
    )

__all__ = ["CheckpointError", "LoadReport", "UniWeTok", "UniWeTokConfig"]
