"""GenEval's prompts with what each asks for, read from its metadata file and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data import assets
from harness.interfaces.errors import Unavailable, UserError, counted, did_you_mean
from tasks.shared.jsonl import read_objects

# fmt: off
OBJECTS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "computer mouse",
    "tv remote", "computer keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)
"""Names of the 80 COCO classes by the detector's index: three differ from COCO's own."""
# fmt: on

COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
)
"""What an object's colour is chosen from, in the order of reasons."""

COLOUR_TEMPLATES = (
    "a photo of a {colour} {name}",
    "a photo of a {colour}-colored {name}",
    "a photo of a {colour} object",
)

RELATIONS = ("left of", "right of", "above", "below")

TASKS = {
    "single_object": 80,
    "two_object": 99,
    "counting": 80,
    "colors": 94,
    "position": 100,
    "color_attr": 100,
}
"""Tags of the six tasks, and how many of the 553 prompts each has."""

PROMPTS = sum(TASKS.values())


SMALL_FILE = Path(__file__).with_name("small.jsonl")
"""Prompts of the same shape, written for trying things out."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that a prompt asks for, or that must not be there."""

    name: str
    count: int
    colour: str | None = None
    position: tuple[str, int] | None = None
    """A relation, and the place of the earlier clause that it is to."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """A prompt and what its picture must and must not hold."""

    tag: str
    prompt: str
    include: tuple[Clause, ...]
    exclude: tuple[Clause, ...]
    source: str
    """The metadata file's line as canonical JSON text."""

    @property
    def record(self) -> dict[str, Any]:
        """The line as it was."""
        found: dict[str, Any] = json.loads(self.source)
        return found


@dataclass(frozen=True, slots=True)
class PromptFile:
    """Prompts in the order of their file, which numbers them."""

    prompts: Sequence[Metadata]
    label: str
    notice: str


def open_prompts(data: str | None, asset: str) -> PromptFile:
    """The prompts at `data`, else the published ones if downloaded, else the small file.

    Args:
        data: A metadata file.
        asset: Name of the published file.

    Raises:
        UserError: The file is missing or not as it should be.
    """
    if data is not None:
        path = Path(data)
        if not path.is_file():
            raise UserError(f"--data {data}: there is no such file; expected GenEval's metadata")
        prompts = read_prompts(path)
        return PromptFile(prompts, path.name, partial_notice(len(prompts)))
    try:
        path = assets.needed(asset)
    except Unavailable as reason:
        prompts = read_prompts(SMALL_FILE)
        notice = (
            f"no prompts given: these {len(prompts)} ship with the program and are not GenEval's "
            f"{PROMPTS}. For numbers to compare give --data or get the published file ({reason})"
        )
        return PromptFile(prompts, "small-prompts", notice)
    return PromptFile(read_prompts(path), asset, "")


def partial_notice(prompts: int) -> str:
    """What to say of a set that has not GenEval's number of prompts."""
    if prompts == PROMPTS:
        return ""
    return f"{counted(prompts, 'prompt')}, GenEval has {PROMPTS}: scores are not the benchmark's"


def read_prompts(path: Path) -> list[Metadata]:
    """All prompts of a metadata file; raise `UserError` naming the line that is wrong."""
    prompts = [parse_metadata(record, where) for where, record in read_objects(path)]
    if not prompts:
        raise UserError(f"{path} has no prompts")
    return prompts


def parse_metadata(record: Mapping[str, Any], where: str) -> Metadata:
    """Check one metadata record; raise `UserError` saying what is wrong where."""
    tag, prompt = record.get("tag"), record.get("prompt")
    if tag not in TASKS:
        raise UserError(f"{where}: unknown tag {tag!r}, {did_you_mean(str(tag), TASKS)}")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError(f"{where}: 'prompt' must be a text, found {prompt!r}")
    clauses = {}
    for part in ("include", "exclude"):
        found = record.get(part, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise UserError(f"{where}: {part!r} must be a list of objects")
        clauses[part] = tuple(
            _clause(each, place, f"{where}, {part}[{place}]") for place, each in enumerate(found)
        )
    if not clauses["include"]:
        raise UserError(f"{where}: 'include' names nothing to look for")
    source = json.dumps(record, ensure_ascii=False, sort_keys=True)
    return Metadata(str(tag), prompt, clauses["include"], clauses["exclude"], source)


def _clause(record: Mapping[str, Any], place: int, where: str) -> Clause:
    name, count = record.get("class"), record.get("count")
    check_class(name, where)
    if type(count) is not int or count < 1:
        raise UserError(f"{where}: 'count' must be a whole number from 1, found {count!r}")
    colour = record.get("color")
    if colour is not None:
        check_colour(colour, where)
    position = record.get("position")
    if position is None:
        return Clause(str(name), count, colour)
    right = isinstance(position, list) and len(position) == 2 and type(position[1]) is int
    if not right or position[0] not in RELATIONS or not 0 <= position[1] < place:
        raise UserError(
            f"{where}: 'position' must be one of {', '.join(RELATIONS)} and the number of an "
            f"earlier clause, found {position!r}"
        )
    return Clause(str(name), count, colour, (position[0], position[1]))


def filename(sample: str) -> str:
    """A picture's place in the official layout: `00000/samples/0000.png` of the id '00000/0000'."""
    prompt, _, number = sample.rpartition("/")
    return f"{prompt}/samples/{number}.png"


def check_class(name: object, where: str) -> None:
    """Raise `UserError` for a class that GenEval does not have."""
    if name not in _OBJECTS:
        hint = did_you_mean(str(name), OBJECTS)
        raise UserError(
            f"{where}: unknown class {name!r}, {hint} (names go by the detector's class index: "
            "COCO's mouse, remote and keyboard are 'computer mouse', 'tv remote', "
            "'computer keyboard')"
        )


def check_colour(colour: object, where: str) -> None:
    """Raise `UserError` for a colour that GenEval does not have."""
    if colour not in COLOURS:
        raise UserError(f"{where}: unknown color {colour!r}, known: {', '.join(COLOURS)}")


_OBJECTS = frozenset(OBJECTS)
