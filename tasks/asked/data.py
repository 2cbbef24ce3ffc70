"""Prompts that are asked about, and what a result leaves: answers, costs and a gallery."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.store import Store
from harness.interfaces import Code, ImageFiles
from harness.interfaces.errors import UserError, counted
from harness.interfaces.types import Status
from tasks.asked.items import Benchmark, Item
from tasks.asked.scenes import SCENES
from tasks.gallery import Verdict
from tasks.shared.jsonl import write_objects
from tasks.shared.text_to_image import (
    Drawing,
    Prompt,
    TextToImageData,
    read_any,
    write_prompt_gallery,
)
from tasks.shared.usage import write_usage

if TYPE_CHECKING:
    import pandas as pd

ANSWERS = "answers.jsonl"
SCORES = "score_lists.json"
"""Scores as GenEval 2's script writes them, for its analysis script."""
LIKELY = 0.5
"""Score from which the gallery calls an answer right."""


def as_prompt(item: Item) -> Prompt[Item]:
    """A prompt, known by its text and all that is asked about it."""
    return Prompt(item.id, item.text, item, item.digest)


class AskedData(TextToImageData[Item]):
    """Prompts with their questions.

    Args:
        items: In the file's order.
        each: Pictures of a prompt.
        label: Name of the data for people.
        notice: What a user must know.
        title: Heading of the gallery.
    """

    def __init__(
        self, items: Sequence[Item], each: int, label: str, notice: str, title: str
    ) -> None:
        self._file_names = items[0].benchmark.file_names
        super().__init__(list(map(as_prompt, items)), each, label, notice, title)

    def find(self, model: ImageFiles, drawing: Drawing[Item]) -> Code:
        """The picture at the first of its places that there is."""
        return read_any(model, self.file_names(drawing.name, drawing.number))

    def file_names(self, prompt: str, number: int) -> list[str]:
        """The benchmark's."""
        return self._file_names(prompt, number)

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write answers, costs and the gallery."""
        conclude(root, rows, self.title, self.texts)


def open_data(data: str | None, benchmark: Benchmark, each: int, title: str) -> AskedData:
    """The prompts at `data`, or ours; raise `UserError` where they are missing or not right."""
    if data is None:
        items = [
            benchmark.drawn(f"{place:05d}", scene.prompt, list(scene.atoms()))
            for place, scene in enumerate(SCENES)
        ]
        notice = (
            f"no --data: these {len(items)} prompts ship with the program and are not the "
            f"benchmark's {benchmark.prompts}. For numbers to compare give {benchmark.source}"
        )
        return AskedData(items, each, "small-prompts", notice, title)
    path = Path(data)
    if not path.exists():
        raise UserError(f"--data {data}: there is no such file; expected {benchmark.source}")
    items = benchmark.read(path)
    return AskedData(items, each, path.name, about(items), title)


def about(items: Sequence[Item]) -> str:
    """What a user must know of a set of prompts; empty if it looks like the benchmark's."""
    whole, told = items[0].benchmark.prompts, []
    if len(items) != whole:
        told.append(
            f"{counted(len(items), 'prompt')}, the benchmark has {whole}: scores are not the "
            "benchmark's"
        )
    known: dict[str, str] = {}
    firsts = [known.setdefault(item.text, item.id) for item in items]
    again = [item.id for item, first in zip(items, firsts, strict=True) if item.id != first]
    if again:
        told.append(f"{len(again)} of {len(items)} prompts are there twice, the first {again[0]}")
    return "; ".join(told)


def conclude(root: Path, rows: pd.DataFrame, title: str, prompts: Mapping[str, str]) -> None:
    """Write `answers.jsonl`, `score_lists.json`, `judge.json`, and the gallery where pictures are.

    Args:
        root: The run directory.
        rows: Rows of `samples.parquet`.
        title: Heading of the gallery.
        prompts: Texts by id.
    """
    if "answers" in rows:
        write_objects(root / ANSWERS, _lines(rows))
        write_usage(root, rows)
        # The analysis script pairs lists with prompts by their order: all of one picture each.
        if (rows["status"] == Status.OK).all() and rows["id"].str.endswith("/0000").all():
            lists = [[each["score"] for each in json.loads(cell)] for cell in rows["answers"]]
            Store(root).write_json(SCORES, lists)
    if (root / "images").is_dir():
        write_prompt_gallery(root, title, rows, prompts, lambda sample: f"{sample}.png", _verdict)


def _lines(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in rows[rows["status"] == Status.OK].to_dict("records"):
        item, _, number = row["id"].rpartition("/")
        for each in json.loads(row["answers"]):
            yield {"item_id": item, "number": int(number), **each}


def _verdict(row: Mapping[str, Any]) -> Verdict | None:
    """Nothing where the picture was not asked about."""
    if not isinstance(row.get("answers"), str) or row["am"] != row["am"]:
        return None
    told = json.loads(row["answers"])
    words = [f"{each['question']} {each['answer']} ({each['score']:.2f})" for each in told]
    text = f"{100 * row['am']:.0f} of 100, all together {100 * row['gm']:.0f}"
    return Verdict(text, all(each["score"] >= LIKELY for each in told), "\n".join(words))
