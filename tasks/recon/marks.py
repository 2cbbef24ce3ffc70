"""Marks on images, such as lines of text: handed to extractors beside originals and outputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.manifest import image_sizes
from harness.interfaces import Code, Columns, Extractor, ImageFiles, ImagePairs, OnProgress
from harness.interfaces.errors import UserError, one_line
from harness.interfaces.types import Sample, digest_of
from tasks.recon.data import ReconData, ReconSettings
from tasks.recon.files import ReconFiles
from tasks.shared.jsonl import check_keys, read_objects, read_rows

if TYPE_CHECKING:
    from torch import Tensor

    from harness.data.manifest import ImageSource


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing on an image."""

    text: str = ""
    """What stands there."""
    box: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom in pixels; None where it is somewhere on the image."""


Marks = Mapping[str, Sequence[Mark]]
"""By an image's id; an image that is not there has no marks."""


@dataclass(frozen=True, slots=True)
class MarkedPairs(ImagePairs):
    """Originals and reconstructions, and what is marked on the originals."""

    marks: Sequence[Sequence[Mark] | None]
    """One sequence an image, in pixels of what is evaluated; None where nobody marked any."""


Sums = Callable[[np.ndarray, np.ndarray, Sequence[Mark] | None], Mapping[str, float]]
"""What an original, its reconstruction and the marks on it add up to, by column."""


def summed(pairs: MarkedPairs, sums: Sums, columns: Sequence[str]) -> Columns:
    """Each image's sums as columns of float64 (B,); `sums` gives 0 for what it did not meet."""
    rows = [
        sums(original, reconstruction, marks)
        for original, reconstruction, marks in zip(
            pairs.reference_uint8, pairs.reconstruction_uint8, pairs.marks, strict=True
        )
    ]
    return {name: np.array([row[name] for row in rows], np.float64) for name in columns}


class MarkedImages(ReconData):
    """Images with marks, encoded, decoded and compared.

    Args:
        source: The images.
        settings: The protocol's.
        label: Name of the data for people.
        notice: What a user must know.
        marks: By image; None where nobody marked any.
    """

    def __init__(
        self,
        source: ImageSource,
        settings: ReconSettings,
        label: str,
        notice: str,
        marks: Marks | None,
    ) -> None:
        super().__init__(source, settings, label, notice)
        self._marks = marks

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """As of other images; the marks are part of a sample's digest."""
        samples = super().samples(limit, on_progress)
        if self._marks is None:
            return samples
        return [
            sample.model_copy(
                update={
                    "sha256": digest_of(
                        [sample.sha256, *map(dataclasses.astuple, self._marks.get(sample.id, ()))]
                    )
                }
            )
            for sample in samples
        ]

    def load(self, sample: Sample) -> Any:
        """Decode and crop one image: uint8 (H, W, 3), and its marks."""
        image = self.image(sample)
        pixels = self._encoded.geometry.apply(image)
        return self.input(sample, pixels), self._marks_of(sample, image.size, pixels)

    def _marks_of(
        self, sample: Sample, size: tuple[int, int], pixels: np.ndarray
    ) -> list[Mark] | None:
        """Where the marks on an image of (width, height) are on the pixels that are evaluated."""
        if self._marks is None:
            return None
        marks = self._marks.get(sample.id, ())
        geometry = self._encoded.geometry
        if not marks or (geometry.resize is None and geometry.crop is None):
            return list(marks)
        height, width = pixels.shape[:2]
        placed = []
        for mark in marks:
            if mark.box is not None:
                corners = geometry.moved(np.reshape(mark.box, (2, 2)), *size)
                # What is cut off cannot be read, whatever the tokenizer does.
                if corners.min() < -1 or (corners > (width + 1, height + 1)).any():
                    continue
                mark = dataclasses.replace(mark, box=tuple(corners.ravel().tolist()))
            placed.append(mark)
        return placed

    def batch_key(self, item: Any) -> Hashable:
        """Images of one size share a batch."""
        return super().batch_key(item[0])

    def generate(self, model: Any, inputs: Sequence[Any], seeds: Sequence[int]) -> list[Code]:
        """Encode the images."""
        return super().generate(model, [image for image, _ in inputs], seeds)

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[Any],
        rendered: Sequence[Tensor],
    ) -> dict[str, Columns]:
        """Observe originals and reconstructions side by side, with the originals' marks."""
        marks = [each for _, each in inputs]
        told = {name: _Telling(extractor, marks) for name, extractor in extractors.items()}
        return super().observe(told, [image for image, _ in inputs], rendered)


class _Telling:
    """An extractor that is told the marks of the images that it observes."""

    def __init__(self, extractor: Extractor, marks: Sequence[Sequence[Mark] | None]) -> None:
        self._extractor = extractor
        self._marks = marks
        self.identity = extractor.identity

    def observe(self, pairs: ImagePairs) -> Columns:
        fields = {each.name: getattr(pairs, each.name) for each in dataclasses.fields(pairs)}
        return self._extractor.observe(MarkedPairs(**fields, marks=self._marks))


class MarkedFiles(MarkedImages, ReconFiles):
    """Marked originals whose reconstructions lie in a folder."""

    def __init__(
        self,
        source: ImageSource,
        settings: ReconSettings,
        label: str,
        notice: str,
        marks: Marks | None,
        images: ImageFiles,
    ) -> None:
        ReconFiles.__init__(self, source, settings, label, notice, images)
        self._marks = marks


_SIDES = ("left", "top", "right", "bottom")
_Box = tuple[float, float, float, float]
_OVERHANG = 1
"""Pixels that a box may lie outside of its image: tools count from 0 or 1, and round."""


def read_marks(
    path: Path, source: ImageSource, *, turned: bool = True, texts: bool = True
) -> dict[str, list[Mark]]:
    """What a file says of images: a mark a line of JSON, or a row of CSV.

    `file` is an image's id; `text`, and the box as `left`, `top`, `right` and `bottom` (in JSON
    also as a list `box`), may be left out.

    Args:
        path: The file.
        source: The images.
        turned: Whether images are turned as their EXIF data say before boxes are counted on them.
        texts: Whether marks say something; those that do not must have a box.

    Raises:
        UserError: No line, one that says no such thing or that stands there twice, one of an image
            that is not there, or a box outside of its image.
    """
    columns = ("file", *(("text",) if texts else ()), *_SIDES)
    known, marks = set(source.ids()), dict[str, list[Mark]]()
    places: dict[tuple[str, _Box | str], str] = {}
    rows = read_rows(path, columns) if path.suffix == ".csv" else read_objects(path)
    for where, row in rows:
        check_keys(where, row, columns if path.suffix == ".csv" else (*columns, "box"))
        name, box, text = row.get("file"), _box(where, row), row.get("text") or ""
        if not isinstance(name, str) or name not in known:
            raise UserError(f"{where}: {name!r} is none of the images: give their path as 'file'")
        if not isinstance(row.get("text", ""), str | None):
            raise UserError(f"{where}: 'text' is {row['text']!r}, expected a text in quotes")
        if text and not one_line(text):
            raise UserError(f"{where}: 'text' is white space alone: write what it says, or nothing")
        if any(line.partition(",")[0] in known for line in text.splitlines()[1:]):
            raise UserError(f"{where}: 'text' runs over other rows: close its quotation mark")
        if box is None and not texts:
            raise UserError(f"{where}: no box: give {', '.join(_SIDES)} in pixels")
        first = places.setdefault((name, box or text), where)
        if first != where:
            what = "box" if box else "text"
            raise UserError(f"{where}: the same {what} of {name!r} as in {first}: keep one of them")
        marks.setdefault(name, []).append(Mark(text, box))
    if not marks:
        raise UserError(f"{path} has no lines: write one a mark, or remove the file")
    _check_places(places, source, turned)
    return marks


def _check_places(
    places: Mapping[tuple[str, _Box | str], str], source: ImageSource, turned: bool
) -> None:
    """Raise `UserError` for the first box that lies outside of its image."""
    boxes = [(name, box, where) for (name, box), where in places.items() if isinstance(box, tuple)]
    names = list(dict.fromkeys(name for name, _, _ in boxes))
    sizes = dict(zip(names, image_sizes(source, names, turned=turned), strict=True))
    for name, box, where in boxes:
        size = sizes[name]
        # An image without a readable header is counted as a failure when it is evaluated.
        if size is None:
            continue
        over = (-box[0], -box[1], box[2] - size[0], box[3] - size[1])
        if max(over) > _OVERHANG:
            shown = ", ".join(f"{side:g}" for side in box)
            raise UserError(
                f"{where}: the box {shown} lies outside of {name!r}, which is {size[0]}x{size[1]}: "
                f"give {', '.join(_SIDES)} in pixels of the file itself, not of another resolution"
            )


def _box(where: str, row: Mapping[str, Any]) -> _Box | None:
    sides = row.get("box")
    if sides is None:
        sides = [row.get(side) for side in _SIDES]
        if sides == [None] * 4 or sides == [""] * 4:
            return None
    elif any(row.get(side) is not None for side in _SIDES):
        raise UserError(f"{where}: 'box' and its sides are both there: keep one of them")
    try:
        left, top, right, bottom = map(float, sides if isinstance(sides, list) else [])
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: a box is four numbers, {', '.join(_SIDES)}") from error
    except OverflowError as error:
        raise UserError(f"{where}: a box's numbers must be finite") from error
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise UserError(f"{where}: a box's numbers must be finite, found {sides}")
    if not (left < right and top < bottom):
        raise UserError(f"{where}: a box's right and bottom lie beyond its left and top, in pixels")
    return left, top, right, bottom
