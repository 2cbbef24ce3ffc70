"""GenAI-Bench: one question a prompt, does the picture show it (VQAScore)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.interfaces.errors import UserError
from tasks.asked.items import Benchmark, Item, Question
from tasks.asked.scenes import Atom
from tasks.asked.task import AskedTask, spec
from tasks.shared.jsonl import read_json

BASIC = ("attribute", "scene", "spatial relation", "action relation", "part relation")
ADVANCED = ("counting", "comparison", "differentiation", "negation", "universal")
SKILLS = ("basic", *BASIC, "advanced", *ADVANCED)
_NUMBER = re.compile("[0-9]{1,9}")


def read(path: Path) -> list[Item]:
    """The prompts of a folder with the two published files; raise `UserError`."""
    prompts, tags = (_object(path / name) for name in ("genai_image.json", "genai_skills.json"))
    skills: dict[int, list[str]] = {}
    for tag, tagged in tags.items():
        if not isinstance(tagged, list) or not all(type(each) is int for each in tagged):
            raise UserError(f"{path / 'genai_skills.json'}: {tag!r} must be a list of numbers")
        for number in tagged:
            skills.setdefault(number, []).append(tag)
    items, numbers = list[Item](), dict[int, str]()
    for name, entry in prompts.items():
        text = entry.get("prompt") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not text.strip() or not _NUMBER.fullmatch(name):
            raise UserError(
                f"{path / 'genai_image.json'}: {name!r} must be a number, with a text at 'prompt'"
            )
        if (first := numbers.setdefault(int(name), name)) != name:
            raise UserError(f"{path / 'genai_image.json'}: {name!r} is the number of {first!r} too")
        mine = tuple(tag for tag in SKILLS if tag in skills.get(int(name), ()))
        items.append(_item(name, text, mine))
    if not items:
        raise UserError(f"{path / 'genai_image.json'} has no prompts")
    return items


def _object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected an object")
    return found


def _item(name: str, text: str, skills: tuple[str, ...]) -> Item:
    return Item(name, text, (Question(text, "Yes", ("Yes",), skills),), BENCHMARK)


def _drawn(name: str, prompt: str, atoms: Iterable[Atom]) -> Item:
    of_these = {"count": "counting", "attribute": "attribute", "position": "spatial relation"}
    found = {of_these[atom.skill] for atom in atoms if atom.skill in of_these}
    kinds = {"basic" if skill in BASIC else "advanced" for skill in found}
    return _item(name, prompt, tuple(skill for skill in SKILLS if skill in found | kinds))


def _file_names(name: str, number: int) -> list[str]:
    # Its own script writes `00000.jpeg`.
    flat = [f"{name}{ending}" for ending in (".jpeg", ".jpg", ".png")]
    return [f"{name}/{number:04d}.png", *(flat if number == 0 else [])]


BENCHMARK = Benchmark(
    skills=SKILLS,
    prompts=1600,
    source="genai_image.json and genai_skills.json of GenAI-Bench (BaiqiL/GenAI-Bench-1600)",
    read=read,
    drawn=_drawn,
    file_names=_file_names,
)

GENAI_BENCH = AskedTask(
    spec(
        "genai-bench",
        "GenAI-Bench: does a generated picture show its prompt (VQAScore)",
        dataset="GenAI-Bench's 1,600 prompts",
        layout="a folder with genai_image.json and genai_skills.json",
        metrics=(
            *("genai_basic", "genai_advanced", "genai_overall", "judge_agreement"),
            *(f"genai_{skill.partition(' ')[0]}" for skill in (*BASIC, *ADVANCED)),
        ),
        protocols=("genai-bench", "genai-bench-endpoint"),
    ),
    BENCHMARK,
)
