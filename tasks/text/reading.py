"""What PP-OCR reads of originals and reconstructions, and how far it is from what stands there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.baselines.hub import versions
from harness.data.digests import weights_sha256
from harness.interfaces import Columns
from harness.interfaces.errors import Unavailable
from harness.interfaces.extras import library
from harness.interfaces.observing import Once
from tasks.recon.marks import Mark, MarkedPairs, summed
from tasks.shared.remembered import Remembered
from tasks.text.task import HEIGHTS

_READ = Remembered[str](100_000)
"""Readings of lines."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """Where text stands on an image, and what it says."""

    boxes: Sequence[Box]
    """One, or the parts in reading order."""
    text: str

    @property
    def height(self) -> float:
        """Of a middle part, in pixels."""
        return float(np.median([bottom - top for _, top, _, bottom in self.boxes]))


class TextReadings:
    """Reads every line of the original at its place, and at the same place in the reconstruction.

    Lines that nobody marked are found by PP-OCR's detector on the original; where nobody wrote down
    what they say, it is what PP-OCR reads on the original.
    """

    works_on = "cpu"

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        del device
        if "text" not in settings:
            raise Unavailable("the protocol does not say how text is read", kind="not applicable")
        models = Path(str(library("rapidocr", "reading text").__file__)).with_name("models")
        runtime = library("onnxruntime", "reading text").__version__
        self.identity = {
            "version": 1,
            **versions("rapidocr"),
            "onnxruntime": runtime,
            "weights": weights_sha256(models / "PP-OCRv6_rec_small.onnx"),
        }
        """What the readings depend on beside the protocol."""

    def observe(self, pairs: MarkedPairs) -> Columns:
        """Columns of float64 (B,): sums over an image's lines, of all and by height.

        `characters` and `words` of the references, `edits` (Levenshtein) of the reconstruction's
        reading and `edits_original` of the original's, `words_right`, and `lines`.
        """
        return summed(pairs, self._sums, _COLUMNS)

    def _sums(
        self, original: np.ndarray, reconstruction: np.ndarray, marks: Sequence[Mark] | None
    ) -> defaultdict[str, float]:
        sums = defaultdict[str, float](float)
        for line in self._lines(original, marks):
            reference = plain(line.text)
            seen, left = (
                plain(" ".join(read(image, box) for box in line.boxes))
                for image in (original, reconstruction)
            )
            counts = {
                "lines": 1,
                "characters": len(reference),
                "edits": edits(reference, left),
                "edits_original": edits(reference, seen),
                "words": len(reference.split()),
                "words_right": sum((Counter(reference.split()) & Counter(left.split())).values()),
            }
            HEIGHTS.add(sums, counts, line.height)
        return sums

    def _lines(self, original: np.ndarray, marks: Sequence[Mark] | None) -> Iterator[Line]:
        height, width = original.shape[:2]
        whole: Box = (0, 0, width, height)
        if marks is None:
            for box in found(original):
                text = read(original, box)
                if text.strip():
                    yield Line([box], text)
            return
        for mark in marks:
            boxes = [mark.box] if mark.box is not None else found(original) or [whole]
            text = mark.text or " ".join(read(original, box) for box in boxes)
            if plain(text):
                yield Line(boxes, text)


_COLUMNS = HEIGHTS.columns("lines", "characters", "edits", "edits_original", "words", "words_right")


def plain(text: str) -> str:
    """A text with single spaces where there was white space."""
    return " ".join(text.split())


def edits(reference: str, read: str) -> int:
    """Levenshtein's distance: least insertions, deletions and replacements of characters."""
    row = np.arange(len(read) + 1)
    letters = np.array(list(read), dtype="<U1")
    for index, letter in enumerate(reference, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (letters != letter))
        # An insertion costs one a place: a running minimum after the places are taken off.
        with_insertions = np.concatenate(([index], best)) - np.arange(len(read) + 1)
        row = np.minimum.accumulate(with_insertions) + np.arange(len(read) + 1)
    return int(row[-1])


def _make() -> Any:
    from rapidocr import ModelType, OCRVersion, RapidOCR

    params = {
        f"{part}.{name}": value
        for part in ("Det", "Rec")
        for name, value in (("ocr_version", OCRVersion.PPOCRV6), ("model_type", ModelType.SMALL))
    }
    # One line at a time: its width would be padded to that of its neighbours.
    return RapidOCR(params={**params, "Global.log_level": "critical", "Rec.rec_batch_num": 1})


_recogniser = Once(_make)


def read(image: np.ndarray, box: Box) -> str:
    """What PP-OCR reads in a box of an image, uint8 RGB (H, W, 3); '' where that is nothing."""
    height, width = image.shape[:2]
    left, top = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    right, bottom = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if right <= left or bottom <= top:
        return ""
    crop = np.ascontiguousarray(image[top:bottom, left:right, ::-1])
    return _READ(crop, lambda: _read(crop))


def _read(crop: np.ndarray) -> str:
    result = _recogniser()(crop, use_det=False, use_cls=False, use_rec=True)
    return " ".join(result.txts or ())


def found(image: np.ndarray) -> list[Box]:
    """Boxes of the lines that PP-OCR's detector finds, from top to bottom."""
    pixels = np.ascontiguousarray(image[..., ::-1])
    result = _recogniser()(pixels, use_det=True, use_cls=False, use_rec=False)
    boxes = [] if result.boxes is None else result.boxes
    return [(*corners.min(0).tolist(), *corners.max(0).tolist()) for corners in boxes]
