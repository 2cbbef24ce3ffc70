"""Labelled images under one protocol: load, embed, compare with class vectors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from harness.data.images import decode_image, to_float
from harness.data.manifest import list_samples
from harness.data.sources import ImageSource
from harness.interfaces import (
    Code,
    Columns,
    Extractor,
    ImageEmbedder,
    OnProgress,
    Picture,
)
from harness.interfaces.errors import UserError
from harness.interfaces.types import Sample
from tasks.zeroshot.classifier import class_folders
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
    """Images in one folder a class, under one protocol.

    Args:
        source: The images; the innermost folder of an id names the class.
        settings: The protocol's.
        label: Name of the data for people.
        layout: How the data is expected to lie, for errors.

    Raises:
        UserError: An image lies in no folder, or in one that is none of the protocol's classes.
    """

    notice = ""

    def __init__(
        self, source: ImageSource, settings: ZeroShotSettings, label: str, layout: str
    ) -> None:
        self.label = label
        self._source = source
        self._settings = settings
        self._labels = {name: i for i, name in enumerate(class_folders(settings.classifier))}
        for image_id in source.ids():
            folder = _folder(image_id)
            if folder not in self._labels:
                where = f"folder {folder!r}, which is no class" if folder else "no class's folder"
                raise UserError(
                    f"data {label!r}: image {image_id!r} lies in {where} of the protocol's "
                    f"{len(self._labels)}: expected {layout}"
                )

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All images in the order of their names, or a fixed choice of `limit` of them."""
        return list_samples(self._source, limit, on_progress)

    def load(self, sample: Sample) -> LabelledImage:
        """Decode and crop one image."""
        image = decode_image(self._source.read(sample.id), self._settings.decode)
        pixels = self._settings.geometry.apply(image)
        return LabelledImage(pixels, self._labels[_folder(sample.id)])

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


def _folder(image_id: str) -> str:
    return PurePosixPath(image_id).parent.name
