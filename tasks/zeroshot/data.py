"""Labelled images under one protocol: load, embed, compare with class vectors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from harness.data.images import decode_image, to_float
from harness.data.manifest import ImageSource, list_samples
from harness.interfaces import (
    Code,
    Columns,
    Extractor,
    ImageEmbedder,
    OnProgress,
    Picture,
)
from harness.interfaces.errors import UserError
from harness.interfaces.types import Sample, digest_of
from tasks.zeroshot.classifier import class_folders
from tasks.zeroshot.labels import labels_of
from tasks.zeroshot.protocol import ZeroShotSettings
from tasks.zeroshot.scores import LabelledEmbeddings

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image and its class."""

    pixels: NDArray[np.uint8]
    """(H, W, 3)."""
    label: int
    """Index into the protocol's classes."""


class ZeroShotData:
    """Labelled images under one protocol.

    Args:
        source: The images.
        settings: The protocol's.
        place: Where the user said that they lie.
        layout: How the data is expected to lie, for errors.
        notice: What a user must know.

    Raises:
        UserError: An image has no label among the protocol's classes, or their order is wrong.
    """

    concurrent = True

    def __init__(
        self,
        source: ImageSource,
        settings: ZeroShotSettings,
        place: Path,
        layout: str,
        notice: str = "",
    ) -> None:
        self.label = place.name or str(place)
        self._source = source
        self._settings = settings
        classes = class_folders(settings.classifier)
        self._labels, of_labels = labels_of(source, place, classes, layout)
        self.notice = "; ".join(text for text in (notice, of_labels) if text)
        self._classes = classes

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All images in the order of their names, or a fixed choice of `limit` of them."""
        return [self._labelled(sample) for sample in list_samples(self._source, limit, on_progress)]

    def _labelled(self, sample: Sample) -> Sample:
        """The sample with its class in the digest, where the id does not hold it."""
        name = self._classes[self._labels[sample.id]]
        if PurePosixPath(sample.id).parent.name == name:
            return sample
        return sample.model_copy(update={"sha256": digest_of([sample.sha256, name])})

    def load(self, sample: Sample) -> LabelledImage:
        """Decode and crop one image."""
        image = decode_image(self._source.read(sample.id), self._settings.decode)
        pixels = self._settings.geometry.apply(image)
        return LabelledImage(pixels, self._labels[sample.id])

    def batch_key(self, item: LabelledImage) -> Hashable:
        """Images of one size share a batch."""
        return item.pixels.shape[:2]

    def generate(
        self, model: ImageEmbedder, inputs: Sequence[LabelledImage], seeds: Sequence[int]
    ) -> list[Code]:
        """Embed; stored as safetensors, a vector a head. Nothing is random."""
        from safetensors.numpy import save

        del seeds
        self._check(model)
        embeddings = model.embeddings(to_float(np.stack([item.pixels for item in inputs])))
        for head, rows in embeddings.items():
            if not np.isfinite(rows).all():
                raise ValueError(f"the {head} head gave values that are not finite")
        return [
            Code(save({head: rows[i] for head, rows in embeddings.items()}), 0, 0)
            for i in range(len(inputs))
        ]

    def _check(self, model: ImageEmbedder) -> None:
        expected = self._settings.classifier.space
        if model.embedding_space != expected:
            raise UserError(
                f"model {model.card.title!r} was distilled from {model.embedding_space!r}, the "
                f"protocol's class vectors belong to {expected!r}: give another --protocol"
            )

    def render(
        self, model: ImageEmbedder, codes: Sequence[Code], seeds: Sequence[int]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Embeddings by head, float32 (width,), as they were stored."""
        from safetensors.numpy import load

        del model, seeds
        # The file format keeps no order of its own.
        return [dict(sorted(load(code.payload).items())) for code in codes]

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[LabelledImage],
        rendered: Sequence[dict[str, NDArray[np.float32]]],
    ) -> dict[str, Columns]:
        """Observe embeddings beside their labels."""
        labelled = LabelledEmbeddings(
            {head: np.stack([rows[head] for rows in rendered]) for head in rendered[0]},
            np.array([item.label for item in inputs]),
        )
        return {name: extractor.observe(labelled) for name, extractor in extractors.items()}

    def picture(self, rendered: Mapping[str, NDArray[np.float32]]) -> None:
        """Embeddings are no picture."""
        del rendered

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Never called, since nothing is a picture."""
