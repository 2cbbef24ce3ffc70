"""Reconstructions made elsewhere, each beside its original."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.data.manifest import ImageSource
from harness.interfaces import Code, Columns, Extractor, ImageFiles
from harness.interfaces.errors import SampleFailure
from harness.interfaces.types import Sample, Status
from tasks.recon.data import ReconData, ReconSettings

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[np.ndarray, str]
"""The original as it is evaluated, uint8 (H, W, 3), and the name of its reconstruction; '' where
there is none."""


class ReconFiles(ReconData):
    """Originals whose reconstructions lie in a folder.

    Args:
        source: The originals.
        settings: The protocol's.
        label: Name of the data for people.
        notice: What a user must know.
        images: The reconstructions.
    """

    def __init__(
        self,
        source: ImageSource,
        settings: ReconSettings,
        label: str,
        notice: str,
        images: ImageFiles,
    ) -> None:
        super().__init__(source, settings, label, notice)
        self._images = images.paired(source.ids())

    def input(self, sample: Sample, original: np.ndarray) -> Pair:
        """The original, and the name of its reconstruction."""
        return original, self._images.get(sample.id, "")

    def batch_key(self, item: Pair) -> Hashable:
        """Originals of one size share a batch."""
        return item[0].shape[:2]

    def generate(
        self, model: ImageFiles, inputs: Sequence[Pair], seeds: Sequence[int]
    ) -> list[Code]:
        """Find the reconstructions; raise `SampleFailure` for a missing one or another size."""
        del seeds
        return [self._found(model, *pair) for pair in inputs]

    def _found(self, model: ImageFiles, original: np.ndarray, name: str) -> Code:
        if not name:
            raise SampleFailure(Status.MISSING, "no image is named like this original")
        code = model.read([name])[0]
        height, width = original.shape[:2]
        if (code.height, code.width) != (height, width):
            # Nothing is resized: that would be another reconstruction.
            raise SampleFailure(
                Status.MODEL_ERROR,
                f"{name} is {code.width}x{code.height}, its original is evaluated at "
                f"{width}x{height}",
            )
        return code

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[Pair],
        rendered: Sequence[Tensor],
    ) -> dict[str, Columns]:
        """Observe originals and reconstructions side by side."""
        return super().observe(extractors, [original for original, _ in inputs], rendered)
