"""What a protocol says of text."""

from __future__ import annotations

from typing import Annotated, Literal

from harness.interfaces.types import Record, Stage
from tasks.recon.data import ReconSettings


class TextRules(Record):
    """How text is read."""

    recogniser: Literal["pp-ocrv6-small"]
    """PP-OCR's networks as they ship with rapidocr 3.10."""
    place: Literal["original"]
    """Both images are read where the text stands, or is found, on the original."""


class TextSettings(ReconSettings):
    """What a task of text reads of a protocol."""

    text: Annotated[TextRules, Stage.OBSERVE]
