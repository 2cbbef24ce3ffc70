"""DPG-Bench's prompts under one protocol, with pictures as quarters of the official grids.

Beside its record a result leaves these grids, questions, answers and a gallery.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data import assets
from harness.data.store import Store
from harness.engine.run_file import read_run_file
from harness.interfaces import Code, ImageFiles, offers
from harness.interfaces.errors import SampleFailure, Unavailable, UserError, counted
from harness.interfaces.types import Status, digest_of
from tasks.dpg.questions import (
    Item,
    Quirks,
    exchange_rows,
    oddities,
    read_questions,
    stray_categories,
)
from tasks.dpg.settings import DpgSettings
from tasks.gallery import Verdict
from tasks.shared.jsonl import write_objects
from tasks.shared.pictures import open_rgb, sheet
from tasks.shared.text_to_image import Drawing, Prompt, TextToImageData, write_prompt_gallery

if TYPE_CHECKING:
    import pandas as pd

SMALL_FILE = Path(__file__).with_name("small.csv")
"""Prompts and questions of the same shape, written for trying things out."""
PROMPTS = 1065
"""How many prompts DPG-Bench has."""
_ASSET = "dpg-prompts"
_QUARTER = "#"
"""Between a grid's name and the number of a quarter in a code's payload."""


def as_prompt(item: Item) -> Prompt[Item]:
    """A prompt, known by its text and all that is asked about it."""
    digest = digest_of([item.id, item.text, [question.row for question in item.questions]])
    return Prompt(item.id, item.text, item, digest)


class DpgData(TextToImageData[Item]):
    """Prompts with their questions, if there are any.

    Args:
        items: In the file's order.
        settings: The protocol's.
        label: Name of the data for people.
        notice: What a user must know.
        title: Heading of the gallery.
    """

    def __init__(
        self, items: Sequence[Item], settings: DpgSettings, label: str, notice: str, title: str
    ) -> None:
        prompts = list(map(as_prompt, items))
        super().__init__(prompts, settings.images_per_prompt, label, notice, title)

    def find(self, model: ImageFiles, drawing: Drawing[Item]) -> Code:
        """A quarter of the grid `ITEM.png`, pictures row by row without a gap."""
        grid = model.read(self.file_names(drawing.name, drawing.number))[0]
        if grid.height % 2 or grid.width % 2:
            raise SampleFailure(
                Status.DECODE_ERROR,
                f"{drawing.name}.png has {grid.width}x{grid.height} pixels: a grid of four "
                "pictures has even sides",
            )
        payload = grid.payload + f"{_QUARTER}{drawing.number}".encode()
        return Code.of_file(payload, grid.height // 2, grid.width // 2)

    def file_names(self, prompt: str, number: int) -> list[str]:
        """`ITEM.png`, which holds all pictures of a prompt."""
        del number
        return [f"{prompt}.png"]

    def render(self, model: Any, codes: Sequence[Code], seeds: Sequence[int]) -> list[np.ndarray]:
        """Decode to uint8 (H, W, 3); of a grid's code, cut out its quarter."""
        if not offers(model, "ImageFiles"):
            return super().render(model, codes, seeds)
        parts = [code.payload.rpartition(_QUARTER.encode()) for code in codes]
        grids = [
            Code(part[0], 2 * code.height, 2 * code.width)
            for code, part in zip(codes, parts, strict=True)
        ]
        quarters = []
        for code, part, grid in zip(codes, parts, super().render(model, grids, seeds), strict=True):
            row, column = divmod(int(part[2]), 2)
            top, left = row * code.height, column * code.width
            quarters.append(grid[top : top + code.height, left : left + code.width].copy())
        return quarters

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write grids, questions, answers and the gallery."""
        write_grids(root, rows, {name: each.about for name, each in self._prompts.items()})
        conclude(root, rows, self.title, self.texts)


def about(items: Sequence[Item], quirks: Quirks) -> str:
    """What a user must know of a set of questions; empty if it looks like the benchmark's."""
    few = (
        f"{counted(len(items), 'prompt')}, DPG-Bench has {PROMPTS}: scores are not the benchmark's"
        if len(items) != PROMPTS
        else ""
    )
    return "; ".join(filter(None, (few, stray_categories(items), oddities(items, quirks))))


def open_data(data: str | None, settings: DpgSettings, title: str) -> DpgData:
    """The questions at `data` and their prompts; without them, the published prompts or ours.

    Raises:
        UserError: A file is missing or not as it should be.
    """
    texts = _published()
    if data is None and texts is not None:
        items = [Item(name, text, ()) for name, text in texts.items()]
        notice = (
            "no questions given: pictures are drawn, nothing is scored; give --data with the "
            "benchmark's dpg_bench.csv"
        )
        return DpgData(items, settings, _ASSET, notice, title)
    path = SMALL_FILE if data is None else Path(data)
    if not path.is_file():
        raise UserError(f"--data {data}: there is no such file; expected DPG-Bench's dpg_bench.csv")
    items = read_questions(path)
    if data is None:
        notice = (
            f"no questions given: these {len(items)} prompts ship with the program and are not "
            f"DPG-Bench's {PROMPTS}. For numbers to compare give --data with its dpg_bench.csv"
        )
        return DpgData(items, settings, "small-prompts", notice, title)
    if texts is not None:
        items = [replace(item, text=texts.get(item.id, item.text)) for item in items]
    return DpgData(items, settings, path.name, about(items, settings.quirks), title)


def _published() -> dict[str, str] | None:
    """Texts of the published prompts by item, if they are downloaded."""
    try:
        path = assets.needed(_ASSET)
    except Unavailable:
        return None
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


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
