"""GenEval's prompts under one protocol, with pictures in the official layout."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.store import Store
from harness.interfaces import Code, ImageFiles
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import Sample, digest_of
from tasks.geneval.conclusion import conclude
from tasks.geneval.prompts import Metadata, PromptFile, filename
from tasks.geneval.settings import GenEvalSettings
from tasks.shared.text_to_image import Drawing, Prompt, TextToImageData, read_any

if TYPE_CHECKING:
    import pandas as pd

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
        code = read_any(model, _names(drawing.name, drawing.number))
        if drawing.number == self._each - 1:
            with contextlib.suppress(SampleFailure):
                read_any(model, _names(drawing.name, self._each))
                raise UserError(
                    f"prompt {drawing.name} has more pictures than the protocol's {self._each}: "
                    "take the others away, or give a --protocol with another images_per_prompt"
                )
        return code

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


def _names(prompt: str, number: int) -> list[str]:
    return [f"{prompt}/samples/{number:0{digits}d}.png" for digits in _DIGITS]
