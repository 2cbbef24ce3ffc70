"""What a GenEval run leaves beside its record: detections as a file, and a gallery."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engine.plan import read_run_file
from harness.interfaces.types import Status
from tasks.gallery import Box, Card, Shot, write_gallery
from tasks.geneval.evaluator import Detection, select
from tasks.geneval.settings import GenEvalSettings, Rules
from tasks.geneval.verdicts import EXTRACTOR
from tasks.shared.jsonl import write_objects

if TYPE_CHECKING:
    import pandas as pd

DETECTIONS = "detections.jsonl"


def conclude(root: Path, rows: pd.DataFrame, title: str, prompts: Mapping[str, str]) -> None:
    """Write `detections.jsonl`, where pictures were judged, and the gallery.

    Args:
        root: The run directory.
        rows: Of `samples.parquet`.
        title: Heading of the gallery.
        prompts: Texts by id.
    """
    file = read_run_file(root)
    settings = GenEvalSettings.of(file.protocol.settings)
    if "detections" in rows:
        origin = {
            "detector": settings.detector.network,
            "weights": str(file.extractors[EXTRACTOR]["weights"]),
        }
        write_objects(root / DETECTIONS, _lines(rows, origin))
    records: Any = rows.to_dict("records")
    cards = [_card(root, row, prompts, settings.rules) for row in records]
    write_gallery(root, title, cards)


def _lines(rows: pd.DataFrame, origin: dict[str, str]) -> Iterator[dict[str, Any]]:
    for row in rows[rows["status"] == Status.OK].to_dict("records"):
        yield {
            "filename": _filename(row["id"]),
            "metadata": json.loads(row["metadata"]),
            **origin,
            "detections": json.loads(row["detections"]),
            "correct": bool(row["correct"]),
            "reason": row["reason"],
        }


def _filename(sample: str) -> str:
    prompt, _, number = sample.rpartition("/")
    return f"{prompt}/samples/{number}.png"


def _card(root: Path, row: Mapping[str, Any], prompts: Mapping[str, str], rules: Rules) -> Card:
    path = root / "images" / _filename(row["id"])
    title = prompts[row["id"].rpartition("/")[0]]
    if row["status"] != Status.OK or "correct" not in row:
        failed = row["status"] != Status.OK
        return Card(
            id=row["id"],
            title=title,
            pictures=[Shot(path)],
            verdict=row["status"] if failed else "not judged",
            good=None,
            words=row["error"],
        )
    right = bool(row["correct"])
    return Card(
        id=row["id"],
        title=title,
        pictures=[Shot(path, boxes=_boxes(row, rules))],
        verdict="right" if right else f"wrong: {row['reason'].splitlines()[0]}",
        good=right,
        words=row["reason"],
        group=row["tag"],
    )


def _boxes(row: Mapping[str, Any], rules: Rules) -> list[Box]:
    """The objects that count under the rules; those that the prompt names are told apart."""
    found = [
        Detection(each["class"], tuple(each["box"]), each["score"], each.get("color"))
        for each in json.loads(row["detections"])
    ]
    named = {clause["class"] for clause in json.loads(row["metadata"])["include"]}
    return [
        Box(
            " ".join(filter(None, (found[place].colour, name))),
            found[place].box,
            good=bool(row["correct"]) if name in named else None,
        )
        for name, places in select(found, row["tag"], rules).items()
        for place in places
    ]
