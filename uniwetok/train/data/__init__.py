"""Training images: sources, crops and a stream that any step can be read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniwetok.lazy import lazy

if TYPE_CHECKING:
    from uniwetok.train.data.config import DataConfig
    from uniwetok.train.data.opening import open_images
    from uniwetok.train.data.source import ImageSource, UnreadableImage
    from uniwetok.train.data.stream import Batch, TrainingImages
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "Batch": "stream",
            "DataConfig": "config",
            "ImageSource": "source",
            "TrainingImages": "stream",
            "UnreadableImage": "source",
            "open_images": "opening",
        },
    )

__all__ = [
    "Batch",
    "DataConfig",
    "ImageSource",
    "TrainingImages",
    "UnreadableImage",
    "open_images",
]
