"""A few rows of lmms-eval's tasks, in the layouts of their data sets on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.tasks.vqa.copies import Rows, picture, write_json

LETTERS = "Options: A: one, B: two, C: three, D: four"


def _star(number: int, category: str, inner: str, answer: str) -> dict[str, Any]:
    return {
        "index": number,
        "image": picture(number),
        "question": f"Star {number}?\n{LETTERS}",
        "answer": answer,
        "category": category,
        "l2_category": inner,
    }


def _thing(number: int, thing: str, answer: str) -> dict[str, Any]:
    return {
        "question_id": str(number),
        "image": picture(number),
        "question": f"Is there a {thing} in the image?",
        "answer": answer,
    }


def _place(number: int, thing: str) -> dict[str, Any]:
    mask = np.zeros((24, 32), np.uint8)
    mask[:12] = 255
    return {
        "id": number,
        "object": thing,
        "prompt": f"Where is the {thing}?",
        "suffix": "Answer with points.",
        "image": picture(number),
        "mask": Image.fromarray(mask),
    }


MMSTAR = [
    _star(1, "math", "geometry", "A"),
    _star(2, "math", "geometry", "B"),
    _star(3, "math", "statistical reasoning", "C"),
    _star(4, "logical reasoning", "code & sequence reasoning", "D"),
    _star(5, "logical reasoning", "diagram reasoning", "A"),
]
POPE = {
    "adversarial": [_thing(1, "cat", "yes"), _thing(2, "dog", "no"), _thing(3, "owl", "yes")],
    "popular": [_thing(4, "cup", "yes"), _thing(5, "bus", "no")],
    "random": [_thing(6, "hat", "yes"), _thing(7, "tie", "no"), _thing(8, "elk", "no")],
}
REFSPATIAL = {
    "location": [_place(20, "ball"), _place(21, "cube")],
    "placement": [_place(22, "lamp")],
    "unseen": [_place(23, "sofa"), _place(24, "vase"), _place(25, "door")],
}
DOCVQA = [
    {
        "questionId": str(number),
        "image": picture(30 + number),
        "question": question,
        "answers": list(answers),
    }
    for number, (question, answers) in enumerate(
        [("What is the total?", ("12.50", "12,50")), ("Who signed?", ("Ada Lovelace",))]
    )
]
OCRBENCH = [
    {
        "dataset": "SVT",
        "question": "what is written in the image?",
        "question_type": "Regular Text Recognition",
        "answer": ["STOP"],
        "image": picture(40),
    },
    {
        "dataset": "docVQA",
        "question": "what is the date?",
        "question_type": "Doc-oriented VQA",
        "answer": ["12 May"],
        "image": picture(41),
    },
]
WISE = [
    {"prompt_id": number, "Prompt": prompt, "Category": "x", "Explanation": "because"}
    for number, prompt in ((1, "A lantern festival"), (2, "A red flag"), (420, "Noon in winter"))
]
IMGEDIT = [
    {
        "key": str(number),
        "edit_type": kind,
        "prompt": f"{kind} the ball",
        "image": picture(50 + number).resize((64, 64)),
    }
    for number, kind in enumerate(("replace", "remove"))
]
REPLIES = {
    "Star 1": "A",
    "Star 2": "A",
    "Star 3": "C",
    "Star 4": "The answer is D.",
    "Star 5": "B",
    "cat": "Yes",
    "owl": "no",
    "dog": "yes",
    "bus": "no",
    "tie": "no",
    "elk": "no",
    "ball?": "[(0.5, 0.2)]",
    "cube?": "[(0.5, 0.9)]",
    "lamp?": "[(0.1, 0.1), (0.9, 0.9)]",
    "sofa?": "[(0.2, 0.3)]",
    "vase?": "nowhere",
    "door?": "[(0.7, 0.4)]",
    "total": "12.5O",
    "signed": "ada lovelace",
    "written": "stop sign",
    "date": "May",
}
HUB: dict[str, dict[str, Rows]] = {
    "MMStar": {"val": MMSTAR},
    "POPE": POPE,
    "RefSpatial-Bench": REFSPATIAL,
    "DocVQA": {"validation": DOCVQA},
    "OCRBench": {"test": OCRBENCH},
    "WISE": {"test": WISE},
    "imgedit": {"test": IMGEDIT},
}
"""Rows by data set and split."""


def write_hub(folder: Path) -> Path:
    """Each data set in a form of its own: parquet, `save_to_disk`, JSON beside images."""
    from datasets import Dataset, DatasetDict

    for name, splits in HUB.items():
        made = {split: Dataset.from_list(rows) for split, rows in splits.items()}
        if name == "DocVQA":
            write_json(folder / name, splits["validation"])
        elif len(splits) > 1:
            DatasetDict(made).save_to_disk(str(folder / name))
        else:
            (folder / name / "data").mkdir(parents=True)
            for split, dataset in made.items():
                dataset.to_parquet(folder / name / "data" / f"{split}-00000-of-00001.parquet")
    return folder
