"""What a DPG-Bench result leaves beside its record: grids, questions, answers, a gallery."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.store import Store
from harness.engine.plan import read_run_file
from harness.interfaces.types import Status
from tasks.dpg.questions import Item, exchange_rows
from tasks.dpg.settings import DpgSettings
from tasks.gallery import Verdict
from tasks.shared.jsonl import write_objects
from tasks.shared.pictures import open_rgb, sheet
from tasks.shared.text_to_image import write_prompt_gallery

if TYPE_CHECKING:
    import pandas as pd

ANSWERS = "answers.jsonl"
CATEGORIES = "categories.json"
QUESTIONS = "questions.jsonl"
GRIDS = "grids"


def write_grids(root: Path, rows: pd.DataFrame, items: Mapping[str, Item]) -> None:
    """Write `grids/ITEM.png` of every prompt whose four pictures are there, and `questions.jsonl`.

    Args:
        root: The run directory.
        rows: Rows of `samples.parquet`.
        items: Prompts by id.
    """
    store = Store(root)
    names = rows["id"].str.rpartition("/")[0]
    for name in dict.fromkeys(names):
        paths = [root / "images" / f"{sample}.png" for sample in rows["id"][names == name]]
        if len(paths) == 4 and all(path.is_file() for path in paths):
            target = f"{GRIDS}/{name}.png"
            if not (root / target).is_file():
                _write_grid(store, target, paths)
    asked = [items[name] for name in dict.fromkeys(names)]
    if any(item.questions for item in asked):
        write_objects(root / QUESTIONS, exchange_rows(asked))


def _write_grid(store: Store, target: str, paths: list[Path]) -> None:
    pictures = [open_rgb(path) for path in paths]
    # Pictures of several sizes make no grid that can be cut in four.
    if len({picture.size for picture in pictures}) == 1:
        store.write(target, lambda path: sheet(pictures, across=2).save(path, format="PNG"))


def write_categories(root: Path, rows: pd.DataFrame) -> None:
    """Write `categories.json` with the fine categories' scores, where there are answers."""
    if "answers" in rows:
        Store(root).write_json(CATEGORIES, fine_categories(rows))


def conclude(root: Path, rows: pd.DataFrame, title: str, prompts: Mapping[str, str]) -> None:
    """Write fine categories and `answers.jsonl`, where there are answers, and the gallery.

    Args:
        root: The run directory.
        rows: Rows of `samples.parquet`.
        title: Heading of the gallery.
        prompts: Texts by id.
    """
    write_categories(root, rows)
    if "answers" in rows:
        model = DpgSettings.of(read_run_file(root).protocol.settings).vqa.model
        write_objects(root / ANSWERS, _lines(rows, model))
    write_prompt_gallery(root, title, rows, prompts, lambda sample: f"{sample}.png", _verdict)


def fine_categories(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Score, of 100, and number of counted answers of each of the fine categories.

    Args:
        rows: Rows of `samples.parquet`.
    """
    seen = rows[rows["status"] == Status.OK]
    prompts = seen["id"].str.rpartition("/")[0]
    kept = seen[~prompts.isin(set(prompts[seen["dpg"].isna()]))]
    counted: dict[str, list[float]] = {}
    for answers in kept["answers"]:
        for each in json.loads(answers):
            if each["counted"] is not None:
                counted.setdefault(each["category"], []).append(each["counted"])
    return {
        name: {"score": 100 * sum(values) / len(values), "n": len(values)}
        for name, values in sorted(counted.items())
    }


def _lines(rows: pd.DataFrame, model: str) -> Iterator[dict[str, Any]]:
    for row in rows[rows["status"] == Status.OK].to_dict("records"):
        item, _, number = row["id"].rpartition("/")
        for each in json.loads(row["answers"]):
            yield {
                "item_id": item,
                "crop": int(number),
                "proposition_id": each["proposition_id"],
                "answer": each["answer"],
                "model": model,
            }


def _verdict(row: Mapping[str, Any]) -> Verdict | None:
    """Nothing where the picture was not asked about, or its prompt does not count."""
    score = row.get("dpg")
    if score is None or score != score:
        return None
    words = "\n".join(f"{a['question']} {a['answer']}" for a in json.loads(row["answers"]))
    return Verdict(f"{100 * score:.0f} of 100", score == 1, words)
