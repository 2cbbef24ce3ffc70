"""CPU seconds of scoring answers and detections of a whole benchmark, made elsewhere."""

from __future__ import annotations

import csv
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import headline
from benchmarks.startup import cpu_seconds
from tasks.geneval.prompts import OBJECTS, SMALL_FILE, TASKS, read_prompts

ROUNDS = 5
DETAILS = ("entity - whole", "attribute - color", "relation - spatial", "global", "other - x")
CODE = """
import sys
from harness.cli import main
try: main()
except SystemExit as stop: assert stop.code in (None, 0, 3), stop.code  # 3: with failures
"""


def main() -> None:
    """Print the median of several rounds, each in a fresh process and a fresh run directory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        detections = write_detections(root / "found.jsonl")
        questions, answers = write_answers(root)
        commands = {
            "geneval, 2,212 pictures": f"score geneval --observations {detections}",
            "dpg, 4,260 pictures, 13 questions each": (
                f"score dpg --observations {answers} --questions {questions}"
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(ROUNDS):
            for name, words in commands.items():
                out = ["--out", str(root / f"runs{turn}"), "--json"]
                command = [sys.executable, "-c", CODE, *words.split(), *out]
                seconds[name].append(cpu_seconds(command))
    table = Table()
    for column in ("command", "CPU seconds"):
        table.add_column(column, justify="left" if column == "command" else "right")
    for name, values in seconds.items():
        table.add_row(name, f"{statistics.median(values):.2f}")
    Console(width=100).print(f"Files of a whole benchmark: {headline()}", table)


def write_detections(path: Path) -> Path:
    """Write GenEval's 2,212 pictures, each with 20 objects of no account.

    The first picture of a prompt has nothing else; the other three have what it asks for.
    """
    prompts = [prompt.record for prompt in read_prompts(SMALL_FILE)]
    random = np.random.default_rng(0)
    lines = []
    names = [(tag, index) for tag, count in TASKS.items() for index in range(count)]
    for place, (tag, index) in enumerate(names):
        own = [prompt for prompt in prompts if prompt["tag"] == tag]
        metadata = own[index % len(own)]
        for number in range(4):
            found = [
                {
                    "class": OBJECTS[int(random.integers(80))],
                    "box": [x, y, x + 90, y + 80],
                    "score": float(random.uniform()),
                }
                for x, y in random.uniform(0, 500, (20, 2))
            ]
            found += asked_for(metadata) if number else []
            name = f"{place:05d}/samples/{number:04d}.png"
            lines.append({"filename": name, "metadata": metadata, "detections": found})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


BOXES = {"left of": (0, 40, 20, 60), "above": (40, 0, 60, 20)}


def asked_for(metadata: dict[str, list[dict[str, object]]]) -> list[dict[str, object]]:
    """Detections that fulfil a prompt."""
    found: list[dict[str, object]] = []
    for clause in metadata["include"]:
        for place in range(int(str(clause["count"]))):
            box = (40 + 25 * place, 40, 60 + 25 * place, 60)
            position = clause.get("position")
            if isinstance(position, list | tuple):
                box = BOXES[position[0]]
            found.append({"class": clause["class"], "box": list(box), "score": 0.95})
            if "color" in clause:
                found[-1]["color"] = clause["color"]
    return found


def write_answers(folder: Path) -> tuple[Path, Path]:
    """Write DPG's size: 1,065 prompts of 13 questions, four pictures each, 4 of 5 answers yes.

    Returns:
        the table of questions, and the file of answers.
    """
    random = np.random.default_rng(0)
    questions, answers = folder / "questions.csv", folder / "answers.jsonl"
    with (
        questions.open("w", encoding="utf-8", newline="") as table,
        answers.open("w", encoding="utf-8") as file,
    ):
        writer: csv.DictWriter[str] | None = None
        for item in range(1065):
            for number in range(1, 14):
                row = {
                    "item_id": f"i{item}",
                    "text": f"prompt {item}",
                    "proposition_id": number,
                    "dependency": f"{max(0, number - 5)}",
                    "tuple": f"{DETAILS[number % 5]} (x)",
                    "question_natural_language": f"Is there a {number}?",
                }
                if writer is None:
                    writer = csv.DictWriter(table, list(row))
                    writer.writeheader()
                writer.writerow(row)
                for crop in range(4):
                    answer = "yes" if random.uniform() < 0.8 else "no"
                    line = {"item_id": f"i{item}", "crop": crop, "proposition_id": number}
                    file.write(json.dumps({**line, "answer": answer}) + "\n")
    return questions, answers
