"""The images of a reconstruction task under one protocol: load, encode, decode, observe."""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from harness.data.images import decode_image, decoded, to_float, to_uint8
from harness.data.manifest import list_samples
from harness.interfaces import (
    Code,
    Columns,
    Extractor,
    ImagePairs,
    OnProgress,
    Picture,
    VisualTokenizer,
)
from harness.interfaces.errors import UserError
from harness.interfaces.types import Sample
from tasks.recon.protocol import ReconSettings
from tasks.shared.pictures import reconstruction_grid
from uwt_images.decoding import RASTER_FORMATS

if TYPE_CHECKING:
    from torch import Tensor

    from harness.data.manifest import ImageSource

_CAPTIONS = ("psnr", "ssim")
"""Observations that stand below a kept picture."""


class ReconData:
    """One source of images under one protocol."""

    concurrent = True

    def __init__(
        self, source: ImageSource, settings: ReconSettings, label: str, notice: str
    ) -> None:
        self.label = label
        self.notice = notice
        self._source = source
        self._settings = settings

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All images in the order of their names, or a fixed choice of `limit` of them."""
        samples = list_samples(self._source, limit, on_progress)
        if self._settings.geometry.max_padded_side is None:
            return samples
        kept = [sample for sample in samples if self._takes(sample)]
        if not kept:
            raise UserError(
                f"none of the {len(samples)} images is part of the evaluation: the protocol leaves "
                f"out sides above {self._settings.geometry.max_padded_side}"
            )
        return [sample.model_copy(update={"index": index}) for index, sample in enumerate(kept)]

    def _takes(self, sample: Sample) -> bool:
        try:
            data = io.BytesIO(self._source.read(sample.id))
            with Image.open(data, formats=RASTER_FORMATS) as image:
                return self._settings.geometry.takes(*image.size)
        except Exception:
            return True  # An unreadable image is counted as a failure, not left out.

    def load(self, sample: Sample) -> np.ndarray:
        """Decode and crop one image: uint8 (H, W, 3)."""
        image = decode_image(self._source.read(sample.id), self._settings.decode)
        return self._settings.geometry.apply(image)

    def batch_key(self, item: np.ndarray) -> Hashable:
        """Images of one size share a batch."""
        return item.shape[:2]

    def generate(
        self, model: VisualTokenizer, inputs: Sequence[np.ndarray], seeds: Sequence[int]
    ) -> list[Code]:
        """Encode; an encoder has no randomness, so the seeds are not used."""
        del seeds
        return model.encode(to_float(np.stack(inputs)))

    def render(
        self, model: VisualTokenizer, codes: Sequence[Code], seeds: Sequence[int]
    ) -> list[Tensor]:
        """Decode to float32 (3, H, W), clamped to [-1, 1]."""
        images = model.decode(codes, seeds)
        height, width = codes[0].height, codes[0].width
        if images.shape != (len(codes), 3, height, width):
            raise ValueError(
                f"decode gave shape {tuple(images.shape)} for {len(codes)} codes of "
                f"{height}x{width}"
            )
        return list(decoded(images))

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[np.ndarray],
        rendered: Sequence[Tensor],
    ) -> dict[str, Columns]:
        """Observe originals and reconstructions side by side."""
        pairs = self._pair(inputs, rendered)
        return {name: extractor.observe(pairs) for name, extractor in extractors.items()}

    def _pair(self, inputs: Sequence[np.ndarray], rendered: Sequence[Tensor]) -> ImagePairs:
        import torch

        settings = self._settings
        originals = np.stack(inputs)
        reconstruction = torch.stack(list(rendered))
        reference = to_float(originals).to(reconstruction.device)
        reconstruction_uint8 = to_uint8(reconstruction, settings.uint8)
        if settings.network_input == "uint8":
            reconstruction = to_float(reconstruction_uint8).to(reference.device)
        return ImagePairs(
            reference=reference,
            reconstruction=reconstruction,
            reference_uint8=(
                originals
                if settings.reference_uint8 == "as-decoded"
                else to_uint8(reference, settings.uint8)
            ),
            reconstruction_uint8=reconstruction_uint8,
        )

    def picture(self, rendered: Tensor) -> np.ndarray:
        """A reconstruction as people see it: rounded to uint8 (H, W, 3)."""
        return to_uint8(rendered)

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Write original, reconstruction and error side by side, captioned with `_CAPTIONS`."""
        rows = []
        for picture in pictures:
            shown = {name: picture.values[name] for name in _CAPTIONS if name in picture.values}
            rows.append((self.load(picture.sample), replace(picture, values=shown)))
        reconstruction_grid(rows).save(target)
