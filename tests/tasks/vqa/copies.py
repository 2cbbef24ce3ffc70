"""A few rows of every suite, written for tests, as the local copies that users may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Rows = list[dict[str, Any]]


def picture(number: int) -> Image.Image:
    """A small picture that differs from every other one."""
    pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _people(*answers: str) -> list[dict[str, Any]]:
    return [
        {"answer": answer, "answer_confidence": "yes", "answer_id": place}
        for place, answer in enumerate(answers)
    ]


def _mmmu(name: str, question: str, options: str, answer: str, number: int) -> dict[str, Any]:
    kind = "open" if options == "[]" else "multiple-choice"
    pictures = {f"image_{k}": picture(number) if k == 1 else None for k in range(1, 8)}
    return {
        "id": name,
        "question": f"<image 1> {question}",
        "options": options,
        "answer": answer,
        "question_type": kind,
        **pictures,
    }


def _seed(number: int, kind: str, question: str, answer: str) -> dict[str, Any]:
    letters = {f"choice_{letter}": f"colour {letter}" for letter in "abcd"}
    pictures = [picture(number)] * (1 if kind == "image" else 2)
    return {
        "image": pictures,
        "question": question,
        **letters,
        "answer": answer,
        "data_type": kind,
        "question_id": str(number),
    }


SPLITS = {"vqav2": "validation", "textvqa": "validation", "mmmu": "validation", "gqa": "testdev"}
ROWS: dict[str, Rows] = {
    "seedbench": [
        _seed(1, "image", "Which colour is the hat?", "B"),
        _seed(2, "image", "Which colour is the door?", "C"),
        _seed(3, "video", "Which colour comes last?", "A"),
    ],
    "pope": [
        {
            "image": picture(10 + place // 2),
            "question": f"Is there a {thing} in the picture?",
            "question_id": str(place),
            "answer": answer,
            "category": category,
        }
        for place, (thing, answer, category) in enumerate(
            [
                ("cat", "yes", "random"),
                ("dog", "no", "random"),
                ("cup", "yes", "popular"),
                ("bus", "no", "popular"),
                ("hat", "yes", "adversarial"),
                ("tie", "no", "adversarial"),
            ]
        )
    ],
    "vqav2": [
        {
            "image": picture(20),
            "question": "What colour is the ball?",
            "question_id": 20,
            "answer_type": "other",
            "answers": _people(*["red"] * 3, *["blue"] * 7),
        },
        {
            "image": picture(21),
            "question": "How many balls are there?",
            "question_id": 21,
            "answer_type": "number",
            "answers": _people(*["two"] * 10),
        },
    ],
    "gqa": [
        {
            "image": picture(30),
            "id": "1",
            "imageId": "n1",
            "question": "Is it day?",
            "answer": "yes",
        },
        {
            "image": picture(31),
            "id": "2",
            "imageId": "n2",
            "question": "Which animal is it?",
            "answer": "dog",
        },
    ],
    "scienceqa": [
        {
            "image": picture(40),
            "question": "Which pole attracts?",
            "choices": ["north", "south"],
            "answer": 1,
            "hint": "Two magnets.",
            "subject": "natural science",
        },
        {
            "image": picture(41),
            "question": "Which state lies north?",
            "choices": ["Maine", "Ohio"],
            "answer": 0,
            "hint": "",
            "subject": "social science",
        },
    ],
    "textvqa": [
        {
            "image": picture(50),
            "question": "what does the NASA sign say",
            "question_id": 50,
            "answers": ["go"] * 9 + ["stop"],
            "ocr_tokens": ["go"],
        }
    ],
    "chartqa": [
        {"image": picture(60), "type": "human_test", "question": "How high?", "answer": "10"},
        {"image": picture(61), "type": "augmented_test", "question": "How low?", "answer": "0"},
    ],
    "ai2d": [
        {
            "image": picture(70),
            "question": "Which part drinks?",
            "options": ["leaf", "stem", "root", "bud"],
            "answer": "2",
        },
        {"image": picture(71), "question": "Which one eats?", "options": ["a", "b"], "answer": "0"},
    ],
    "realworldqa": [
        {"image": picture(80), "question": "Where is it?\nA. left\nB. right", "answer": "B"},
        {"image": picture(81), "question": "How many lanes?", "answer": "2"},
    ],
    "mmmu": [
        _mmmu("validation_Art_1", "Which style?", "['baroque', 'modern']", "A", 90),
        _mmmu("validation_Art_Theory_2", "Which school?", "['old', 'new', 'late']", "B", 91),
        _mmmu("validation_Math_3", "What is the sum?", "[]", "12", 92),
    ],
    "mme": [
        {
            "image": picture(100 + place // 2),
            "question_id": f"{category}/{place // 2}.png",
            "question": f"Is this a {thing}? Please answer yes or no.",
            "answer": answer,
            "category": category,
        }
        for place, (thing, answer, category) in enumerate(
            [
                ("zebra", "Yes", "existence"),
                ("horse", "No", "existence"),
                ("loop", "Yes", "code_reasoning"),
                ("list", "No", "code_reasoning"),
            ]
        )
    ],
}
REPLIES = {
    "the hat": "B. colour b",
    "the door": "A",
    "comes last": "a",
    "dog in": "no",
    "bus in": "No.",
    "cup in": "no",
    "colour is the ball": "Red",
    "many balls": "2",
    "animal": "a dog",
    "pole": "B. south",
    "state": "A",
    "nasa": "Go!",
    "How high": "10.4",
    "How low": "0.0",
    "drinks": "C. root",
    "one eats": "b",
    "Where is it": "(B)",
    "lanes": "two",
    "Which style": "(A)",
    "Which school": "nobody knows",
    "the sum": "The answer is 12.",
    "a horse": "No",
    "a list": "no",
}
"""What the toy model says, right and wrong."""
PARQUET = ("chartqa", "pope", "textvqa")
JSON = ("ai2d", "mme", "realworldqa", "vqav2")


def write_copies(folder: Path) -> Path:
    """Every suite in one of the forms: `save_to_disk`, parquet, JSON beside images."""
    for name, rows in ROWS.items():
        if name in JSON:
            write_json(folder / name, rows)
        else:
            _write_dataset(folder / name, name, rows)
    return folder


def write_json(folder: Path, rows: Rows, name: str = "questions.jsonl") -> Path:
    """Rows as lines of JSON whose pictures are files beside them."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for place, row in enumerate(rows):
        entry = dict(row)
        for column, value in row.items():
            if isinstance(value, Image.Image):
                path = f"images/{place}-{column}.png"
                value.save(folder / path)
                entry[column] = path
        lines.append(json.dumps(entry) + "\n")
    (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def _write_dataset(folder: Path, name: str, rows: Rows) -> None:
    from datasets import Dataset, DatasetDict, Features, Image as Pictures, Value

    split = SPLITS.get(name, "test")
    dataset = Dataset.from_list(rows)
    for column in (f"image_{number}" for number in range(1, 8)):
        if column in dataset.features and dataset.features[column] == Value("null"):
            features = Features({**dataset.features, column: Pictures()})
            dataset = dataset.cast(features)
    if name in PARQUET:
        folder.mkdir(parents=True)
        dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    else:
        DatasetDict({split: dataset}).save_to_disk(str(folder))
