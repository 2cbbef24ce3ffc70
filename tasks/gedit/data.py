"""Edits under one protocol: originals are given to a model, and its edits to the judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from harness.data.images import decode_image
from harness.data.manifest import choose, list_samples
from harness.interfaces import Code, Columns, Extractor, OnProgress, Picture, offers
from harness.interfaces.errors import DecodeError
from harness.interfaces.types import Sample, digest_of
from tasks.gedit.conclusion import conclude, write_originals
from tasks.gedit.edits import SIZE, Edit, edited_path
from tasks.gedit.judging import EditPair
from tasks.gedit.settings import GEditSettings
from tasks.gedit.source import GIVEN, JUDGED, GEditSource
from tasks.shared.pictures import labelled_grid
from tasks.shared.text_to_image import PictureData, text_column

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Original:
    """An image and what is to be changed in it."""

    edit: Edit
    judged: np.ndarray
    """uint8 (H, W, 3), what the edit is compared with."""
    given: np.ndarray
    """uint8 (H, W, 3), at the size that models edit."""


class GEditData(PictureData):
    """The edits of one language.

    Args:
        source: A copy of the data.
        settings: The protocol's.
        title: Heading of the gallery.
        label: Name of the data for people.
    """

    def __init__(
        self, source: GEditSource, settings: GEditSettings, title: str, label: str
    ) -> None:
        self.label = label
        found = len(source.edits)
        self.notice = (
            "" if found == SIZE else f"{found} edits here, the published data set has {SIZE}"
        )
        self._source = source
        self._settings = settings
        self._title = title

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All edits in the data's order, or a fixed choice of `limit` of them."""
        edits = self._source.edits
        chosen = choose(list(edits), limit)
        listed = list_samples(self._source.part(chosen), None, on_progress)
        images = {image.id: image.sha256 for image in listed}
        return [
            Sample(
                id=name,
                index=index,
                sha256=digest_of(
                    [
                        edits[name].instruction,
                        edits[name].intersection,
                        images[f"{JUDGED}:{name}"],
                        images[f"{GIVEN}:{name}"],
                    ]
                ),
            )
            for index, name in enumerate(chosen)
        ]

    def load(self, sample: Sample) -> Original:
        """Decode both originals, the model's at its size."""
        given = self._image(GIVEN, sample.id)
        size = self._settings.input.of_original(*given.size)
        given = given.resize(size, Image.Resampling.BICUBIC)
        judged = self._image(JUDGED, sample.id)
        return Original(self._source.edits[sample.id], np.asarray(judged), np.asarray(given))

    def _image(self, column: str, name: str) -> Image.Image:
        try:
            return decode_image(self._source.read(f"{column}:{name}"), self._settings.decode)
        except DecodeError as error:
            raise DecodeError(f"{column}: {error}") from error

    def generate(self, model: Any, inputs: Sequence[Original], seeds: Sequence[int]) -> list[Code]:
        """Edit every original, or find the edit where it was made elsewhere."""
        if offers(model, "ImageFiles"):
            found: list[Code] = model.read([edited_path(item.edit.id) for item in inputs])
            return found
        edited: list[Code] = model.edit(
            [item.edit.instruction for item in inputs], [item.given for item in inputs], seeds
        )
        return edited

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[Original],
        rendered: Sequence[np.ndarray],
    ) -> dict[str, Columns]:
        """Have the edits judged; what the scores are sorted by stands beside them."""
        pairs = [
            EditPair(item.edit.instruction, item.judged, edited)
            for item, edited in zip(inputs, rendered, strict=True)
        ]
        known = about([item.edit for item in inputs])
        return {
            name: {**known, **extractor.observe(pairs)} for name, extractor in extractors.items()
        }

    def picture_path(self, sample: Sample) -> str:
        """The published layout."""
        return edited_path(sample.id)

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Write originals and edits side by side."""
        cells: list[tuple[Image.Image | Path, str]] = []
        for picture in pictures:
            original = self.load(picture.sample)
            cells.append((Image.fromarray(original.judged), picture.sample.id))
            cells.append((picture.path, original.edit.instruction))
        labelled_grid(cells).save(target)

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write originals beside edits, the groups' figures, the judge's costs and the gallery."""
        write_originals(root, list(rows["id"]), lambda name: self._image(JUDGED, name))
        instructions = {name: edit.instruction for name, edit in self._source.edits.items()}
        conclude(root, rows, self._title, instructions)


def about(edits: Sequence[Edit]) -> Columns:
    """What is known of edits as columns: texts, and whether they lie in the intersection."""
    return {
        "group": text_column([edit.group for edit in edits]),
        "instruction": text_column([edit.instruction for edit in edits]),
        "intersection": np.array([float(edit.intersection) for edit in edits]),
    }
