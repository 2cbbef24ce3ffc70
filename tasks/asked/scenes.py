"""Small scenes of drawn shapes: their prompts, the questions about them, and what is true of each.

The prompts stand in where a benchmark's data are not at hand. The drawings are what a judge is
checked by: what is true of them is known by construction, and was marked by nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

NUMBERS = "zero one two three four five six seven eight nine ten".split()  # noqa: SIM905
"""Words of 0 to 10."""
SIDE = 224
_COLOURS = {"red": (220, 30, 30), "green": (20, 150, 50), "blue": (30, 60, 220), "black": (0, 0, 0)}


@dataclass(frozen=True, slots=True)
class Group:
    """Shapes of one kind."""

    number: int
    colour: str
    shape: str

    @property
    def words(self) -> str:
        """As a prompt names them."""
        if self.number == 1:
            return f"a {self.colour} {self.shape}"
        return f"{NUMBERS[self.number]} {self.colour} {self.shape}s"


@dataclass(frozen=True, slots=True)
class Atom:
    """A question about a scene, as GenEval 2 words it, and what it is about."""

    text: str
    expected: str
    """'Yes', or a number's word."""
    skill: str
    about: tuple[str, ...]
    """The shapes, then what is asked of them."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One group of shapes, or two of different ones, of which the first is left of or above."""

    groups: tuple[Group, ...]
    relation: str = ""

    @property
    def prompt(self) -> str:
        """What to draw."""
        between = {"left": " to the left of ", "above": " above "}.get(self.relation, " and ")
        return between.join(group.words for group in self.groups)

    def atoms(self) -> Iterator[Atom]:
        """All that there is to ask."""
        for group in self.groups:
            shapes = f"{group.shape}s"
            of_them = f"Is the {group.shape}" if group.number == 1 else f"Are the {shapes}"
            number = NUMBERS[group.number]
            yield Atom(f"How many {shapes} are in the image?", number, "count", (group.shape,))
            about = (group.shape, group.colour)
            yield Atom(f"{of_them} {group.colour}?", "Yes", "attribute", about)
            yield Atom(f"Are there any {shapes} in the image?", "Yes", "object", (group.shape,))
        if self.relation:
            one, two = self.groups
            where = "to the left of" if self.relation == "left" else "above"
            verb, ends = ("Is", "") if one.number == 1 else ("Are", "s")
            other = two.shape + "s" * (two.number > 1)
            text = f"{verb} the {one.shape}{ends} {where} the {other}?"
            yield Atom(text, "Yes", "position", (one.shape, two.shape, self.relation))

    def truth(self, atom: Atom) -> bool | None:
        """Whether the expected answer is right here; None where the question makes no sense."""
        here = {group.shape: group for group in self.groups}
        match atom.skill, atom.about:
            case "object", (shape,):
                return shape in here
            case "count", (shape,):
                return shape in here and NUMBERS[here[shape].number] == atom.expected
            case "attribute", (shape, colour) if shape in here:
                return here[shape].colour == colour
            case "position", (one, two, relation) if {one, two} <= here.keys():
                return self.groups[0].shape == one and (self.relation or "left") == relation
        return None

    def draw(self) -> np.ndarray:
        """uint8 (SIDE, SIDE, 3), shapes on white."""
        image = Image.new("RGB", (SIDE, SIDE), "white")
        pen = ImageDraw.Draw(image)
        share = SIDE // len(self.groups)
        for place, group in enumerate(self.groups):
            down = self.relation == "above"
            left, top = (0, place * share) if down else (place * share, 0)
            width, height = (SIDE, share) if down else (share, SIDE)
            # As many columns as make cells nearly square.
            columns = max(1, round((group.number * width / height) ** 0.5))
            rows = -(-group.number // columns)
            size = int(min(width / columns, height / rows) * 0.7)
            for number in range(group.number):
                row, column = divmod(number, columns)
                x = left + int((column + 0.5) * width / columns) - size // 2
                y = top + int((row + 0.5) * height / rows) - size // 2
                _shape(pen, group, x, y, size)
        return np.asarray(image)


def _shape(pen: ImageDraw.ImageDraw, group: Group, x: int, y: int, size: int) -> None:
    colour, box = _COLOURS[group.colour], (x, y, x + size, y + size)
    if group.shape == "circle":
        pen.ellipse(box, fill=colour)
    elif group.shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(x, y + size), (x + size, y + size), (x + size // 2, y)], fill=colour)


def _scene(*groups: tuple[int, str, str], relation: str = "") -> Scene:
    return Scene(tuple(Group(*each) for each in groups), relation)


SCENES = (
    _scene((3, "red", "circle")),
    _scene((2, "red", "circle"), (1, "blue", "square")),
    _scene((2, "green", "circle"), (4, "blue", "square"), relation="above"),
    _scene((4, "blue", "square"), (2, "green", "circle"), relation="above"),
    _scene((1, "black", "triangle"), (2, "red", "square"), relation="left"),
    _scene((2, "red", "square"), (1, "black", "triangle"), relation="left"),
    _scene((5, "green", "triangle")),
    _scene((4, "green", "triangle"), (3, "black", "circle")),
)
"""Each differs from the next in a number, a colour, an order or a shape."""
