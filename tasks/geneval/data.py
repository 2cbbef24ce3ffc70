"""GenEval's prompts under one protocol, with pictures in the official layout.

Beside its record a run leaves detections as a file, and a gallery.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from harness.data.store import Store
from harness.engine.run_file import read_run_file
from harness.interfaces import Code, ImageFiles
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import Sample, Status, digest_of
from tasks.gallery import Box, Verdict
from tasks.geneval.evaluator import Detection, select
from tasks.geneval.prompts import Metadata, PromptFile, filename
from tasks.geneval.settings import GenEvalSettings, Rules
from tasks.geneval.verdicts import EXTRACTOR
from tasks.shared.jsonl import write_objects
from tasks.shared.text_to_image import (
    Drawing,
    Prompt,
    TextToImageData,
    read_any,
    write_prompt_gallery,
)

_DIGITS = (4, 5, 1)
"""Digits of a picture's number in its name: as documented, as the official script writes, plain."""


class GenEvalData(TextToImageData[Metadata]):
    """Prompts, numbered by their place in the file.

    Args:
        file: The prompts.
        settings: The protocol's.
        title: Heading of the gallery.
    """

    def __init__(self, file: PromptFile, settings: GenEvalSettings, title: str) -> None:
        prompts = [as_prompt(place, each) for place, each in enumerate(file.prompts)]
        super().__init__(prompts, settings.images_per_prompt, file.label, file.notice, title)

    def find(self, model: ImageFiles, drawing: Drawing[Metadata]) -> Code:
        """The picture `PROMPT/samples/NUMBER.png`; raise `UserError` where there are too many."""
        code = read_any(model, self.file_names(drawing.name, drawing.number))
        if drawing.number == self._each - 1:
            with contextlib.suppress(SampleFailure):
                read_any(model, self.file_names(drawing.name, self._each))
                raise UserError(
                    f"prompt {drawing.name} has more pictures than the protocol's {self._each}: "
                    "take the others away, or give a --protocol with another images_per_prompt"
                )
        return code

    def file_names(self, prompt: str, number: int) -> list[str]:
        """`PROMPT/samples/NUMBER.png`, with as many digits as people write."""
        return [f"{prompt}/samples/{number:0{digits}d}.png" for digits in _DIGITS]

    def picture_path(self, sample: Sample) -> str:
        """`00000/samples/0000.png` below the run's images."""
        return filename(sample.id)

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write each prompt's metadata beside its pictures, the detections, and the gallery."""
        store = Store(root)
        for prompt in dict.fromkeys(rows["id"].str.rpartition("/")[0]):
            line = json.dumps(self._prompts[prompt].about.record) + "\n"
            store.write_text(f"images/{prompt}/metadata.jsonl", line)
        conclude(root, rows, self.title, self.texts)


def as_prompt(place: int, metadata: Metadata) -> Prompt[Metadata]:
    """A prompt, called by its place in the file."""
    return Prompt(f"{place:05d}", metadata.prompt, metadata, digest_of(metadata.source))


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
