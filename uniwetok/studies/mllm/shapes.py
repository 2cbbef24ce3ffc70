"""easy-VQA's pictures: one coloured shape each, what it is, and the same picture edited."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniwetok.train import TrainingError

Split = Literal["train", "test"]
COLOURS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}
"""As easy-VQA draws them."""
SHAPES = ("circle", "rectangle", "triangle")
SIDE = 64
"""Height and width of a picture in pixels."""
_MARGIN = 0.25
"""Kept around a shape, in its longer side."""
_EDGE = 30
"""Sum of differences from the background above which a pixel is the shape's."""
_INSTALL = "pip install easy-vqa, or uwt-eval[mini]"


@dataclass(frozen=True)
class Question:
    """One of easy-VQA's questions."""

    text: str
    answer: str
    picture: int

    @property
    def group(self) -> str:
        """What kind of answer it has: "colour", "shape" or "yes/no"."""
        if self.answer in COLOURS:
            return "colour"
        return "shape" if self.answer in SHAPES else "yes/no"


@dataclass(frozen=True, eq=False)
class Shape:
    """A picture cropped to its shape."""

    pixels: NDArray[np.uint8]
    """(SIDE, SIDE, 3)."""
    background: NDArray[np.uint8]
    """(3,): every other pixel."""
    colour: str
    shape: str

    @property
    def caption(self) -> str:
        """What it shows."""
        return f"a {self.colour} {self.shape}"

    def recoloured(self, colour: str) -> NDArray[np.uint8]:
        """Paint the shape anew; pixels at its edge stay mixed with the background."""
        background = self.background.astype(float)
        own = np.array(COLOURS[self.colour]) - background
        share = (self.pixels - background) @ own / (own @ own)
        mixed = background + share.clip(0, 1)[..., None] * (np.array(COLOURS[colour]) - background)
        painted: NDArray[np.uint8] = mixed.round().astype(np.uint8)
        return painted

    def removed(self) -> NDArray[np.uint8]:
        """Leave the background alone."""
        return np.broadcast_to(self.background, self.pixels.shape).copy()


class EasyVqa:
    """One split: questions, and pictures cropped to their shapes.

    Raises:
        TrainingError: the package easy-vqa is not installed.
    """

    def __init__(self, split: Split) -> None:
        found = importlib.util.find_spec("easy_vqa")
        if found is None or found.origin is None:
            raise TrainingError(f"easy-VQA's pictures are missing: {_INSTALL}")
        self._folder = Path(found.origin).parent / "data" / split
        rows = json.loads((self._folder / "questions.json").read_text(encoding="utf-8"))
        self.questions = [Question(text, answer, picture) for text, answer, picture in rows]

    @cached_property
    def pictures(self) -> dict[int, Shape]:
        """Every picture whose colour and shape its questions tell, by number."""
        shapes = {}
        for number, (colour, shape) in sorted(self._labels.items()):
            if colour and shape:
                path = self._folder / "images" / f"{number}.png"
                shapes[number] = _cropped(Image.open(path).convert("RGB"), colour, shape)
        return shapes

    @cached_property
    def _labels(self) -> dict[int, list[str]]:
        """Colour and shape of each picture, each empty where no question tells it."""
        labels: dict[int, list[str]] = {}
        for question in self.questions:
            known = labels.setdefault(question.picture, ["", ""])
            word = _told(question)
            if word in COLOURS:
                known[0] = word
            elif word in SHAPES:
                known[1] = word
        return labels


def _told(question: Question) -> str:
    """Give the colour or shape that a question and its answer say is in the picture, if any."""
    if question.group != "yes/no":
        return question.answer
    words = question.text.rstrip("?").split()
    asked = next((word for word in words if word in COLOURS or word in SHAPES), "")
    denied = "not" in words or "no" in words
    return asked if (question.answer == "yes") != denied else ""


def _cropped(image: Image.Image, colour: str, shape: str) -> Shape:
    """Cut the square around the shape and a margin, as large as needed beyond the picture."""
    pixels = np.asarray(image)
    corners = [tuple(pixels[row, column].tolist()) for row in (0, -1) for column in (0, -1)]
    background = np.array(max(set(corners), key=corners.count), np.uint8)
    rows, columns = np.nonzero(np.abs(pixels.astype(int) - background).sum(-1) > _EDGE)
    middle = [(each.min() + each.max() + 1) / 2 for each in (columns, rows)]
    half = (max(np.ptp(rows), np.ptp(columns)) + 1) * (0.5 + _MARGIN)
    height, width = pixels.shape[:2]
    canvas = np.broadcast_to(background, (3 * height, 3 * width, 3)).copy()
    canvas[height : 2 * height, width : 2 * width] = pixels
    left, top = (
        float(place + size - half) for place, size in zip(middle, (width, height), strict=True)
    )
    box = (left, top, left + 2 * half, top + 2 * half)
    crop = Image.fromarray(canvas).transform(
        (SIDE, SIDE), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    return Shape(np.asarray(crop), background, colour, shape)
