"""GenEval 2: its data's layout, and how its questions are asked and answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.interfaces.errors import UserError
from tasks.asked.items import YES, Benchmark, Item, Question
from tasks.asked.scenes import NUMBERS, Atom
from tasks.asked.task import AskedTask, spec
from tasks.shared.jsonl import read_objects

SKILLS = ("object", "attribute", "count", "position", "verb")


def read(path: Path) -> list[Item]:
    """The prompts of `geneval2_data.jsonl`, called 00000, 00001 …; raise `UserError`."""
    items = [
        item_of(f"{place:05d}", record, where)
        for place, (where, record) in enumerate(read_objects(path))
    ]
    if not items:
        raise UserError(f"{path} has no prompts")
    return items


def item_of(name: str, record: Mapping[str, Any], where: str) -> Item:
    """One line of the file; raise `UserError` saying what is wrong where."""
    prompt, atoms = record.get("prompt"), record.get("atom_count")
    pairs, skills = record.get("vqa_list"), record.get("skills")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError(f"{where}: 'prompt' must be a text, found {prompt!r}")
    if type(atoms) is not int or atoms < 1:
        raise UserError(f"{where}: 'atom_count' must be a whole number from 1, found {atoms!r}")
    if not (isinstance(pairs, list) and pairs and all(map(_is_pair, pairs))):
        raise UserError(f"{where}: 'vqa_list' must be a list of [question, answer], none empty")
    if (
        not isinstance(skills, list)
        or len(skills) != len(pairs)
        or not all(skill in SKILLS for skill in skills)
    ):
        raise UserError(
            f"{where}: 'skills' must name one of {', '.join(SKILLS)} for each of {len(pairs)} "
            "questions"
        )
    asked = zip(pairs, skills, strict=True)
    questions = tuple(_question(text, answer, skill) for (text, answer), skill in asked)
    return Item(name, prompt, questions, BENCHMARK, atoms)


def _is_pair(pair: object) -> bool:
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    return all(isinstance(text, str) and text.strip() for text in pair)


def _question(text: str, answer: str, skill: str) -> Question:
    """The spellings whose first tokens the published script adds up."""
    if not text.startswith("How many"):
        return Question(text, answer, YES, (skill,))
    words = [answer, answer.capitalize()]
    if answer in NUMBERS:
        words.append(str(NUMBERS.index(answer)))
    right = tuple(f"{space}{word}" for space in ("", " ") for word in words)
    return Question(text, answer, right, (skill,))


def _drawn(name: str, prompt: str, atoms: Iterable[Atom]) -> Item:
    listed = list(atoms)
    record = {
        "prompt": prompt,
        # 'a' and 'and' are asked about, and are no atoms.
        "atom_count": sum(atom.expected != "one" for atom in listed),
        "vqa_list": [[atom.text, atom.expected] for atom in listed],
        "skills": [atom.skill for atom in listed],
    }
    return item_of(name, record, "our scenes")


def _file_names(name: str, number: int) -> list[str]:
    return [f"{name}/{number:04d}.png", *([f"{name}.png"] if number == 0 else [])]


BENCHMARK = Benchmark(
    skills=SKILLS,
    prompts=800,
    source="geneval2_data.jsonl of facebookresearch/GenEval2 (CC BY-NC 4.0)",
    read=read,
    drawn=_drawn,
    file_names=_file_names,
)
ATOMS = tuple(range(3, 11))
"""How many atoms its prompts have."""

GENEVAL2 = AskedTask(
    spec(
        "geneval2",
        "GenEval 2: every atom of a prompt, asked about in generated pictures",
        dataset="GenEval 2's 800 prompts",
        layout="geneval2_data.jsonl",
        metrics=(
            *(f"geneval2_{skill}" for skill in SKILLS),
            *("geneval2_am", "geneval2_gm", "judge_agreement"),
            *(f"geneval2_atoms{count}" for count in ATOMS),
        ),
        protocols=("geneval2", "geneval2-endpoint", "geneval2-hard"),
    ),
    BENCHMARK,
)
