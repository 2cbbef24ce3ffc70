"""A teacher whose embeddings were computed before: it is by far the dearest part of a step."""

from __future__ import annotations

import torch
from torch import Tensor


class StoredTeacher:
    """Looks up the embedding of each image by the image's content."""

    def __init__(self, images: Tensor, embeddings: Tensor) -> None:
        """Take what the teacher said.

        Args:
            images: (count, 3, H, W), exactly as they will be asked for.
            embeddings: (count, width) float32 of Euclidean length 1.
        """
        self.width = embeddings.shape[1]
        self._embeddings = embeddings
        self._rows = {_key(image): row for row, image in enumerate(images)}

    def embed(self, images: Tensor) -> Tensor:
        """Embed images; see `Teacher.embed`.

        Raises:
            KeyError: an image is none of the stored ones.
        """
        return self._embeddings[torch.tensor([self._rows[_key(image)] for image in images])]


def _key(image: Tensor) -> bytes:
    return image.numpy().tobytes()
