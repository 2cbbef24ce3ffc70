"""What a GenEval run leaves beside its record: detections as a file, and a gallery."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engine.plan import read_run_file
from harness.interfaces.types import Status
from tasks.gallery import Box, Verdict
from tasks.geneval.evaluator import Detection, select
from tasks.geneval.prompts import filename
from tasks.geneval.settings import GenEvalSettings, Rules
from tasks.geneval.verdicts import EXTRACTOR
from tasks.shared.jsonl import write_objects
from tasks.shared.text_to_image import write_prompt_gallery

if TYPE_CHECKING:
    import pandas as pd

DETECTIONS = "detections.jsonl"


def conclude(root: Path, rows: pd.DataFrame, title: str, prompts: Mapping[str, str]) -> None:
    """Write `detections.jsonl`, where pictures were judged, and the gallery.

    Args:
        root: The run directory.
        rows: Rows of `samples.parquet`.
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

    def verdict(row: Mapping[str, Any]) -> Verdict | None:
        return _verdict(row, settings.rules) if "correct" in row else None

    write_prompt_gallery(root, title, rows, prompts, filename, verdict)


def _lines(rows: pd.DataFrame, origin: dict[str, str]) -> Iterator[dict[str, Any]]:
    for row in rows[rows["status"] == Status.OK].to_dict("records"):
        yield {
            "filename": filename(row["id"]),
            "metadata": json.loads(row["metadata"]),
            **origin,
            "detections": json.loads(row["detections"]),
            "correct": bool(row["correct"]),
            "reason": row["reason"],
        }


def _verdict(row: Mapping[str, Any], rules: Rules) -> Verdict:
    right, reason = bool(row["correct"]), row["reason"]
    text = "right" if right else f"wrong: {reason.splitlines()[0]}"
    return Verdict(text, right, reason, row["tag"], _boxes(row, rules))


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
