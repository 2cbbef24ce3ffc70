"""The settings of a GEdit-Bench protocol, typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from harness.data.images import DecodeRule
from harness.interfaces.types import Record
from harness.judges import JudgeSettings
from tasks.shared.protocol_settings import read_settings


class InputSize(Record):
    """How large originals are when a model edits them."""

    area: int = Field(ge=1)
    """Pixels to aim at."""
    multiple: int = Field(ge=1)
    """Of both sides."""
    kernel: Literal["pil-bicubic"]


class PromptDigests(Record):
    """SHA-256 of the texts that the judge is given."""

    semantics: str
    """With '<instruction>' in the instruction's place."""
    quality: str


class GEditSettings(Record):
    """What a GEdit-Bench task reads of a protocol."""

    decode: DecodeRule
    input: InputSize
    uint8: Literal["round"]
    """How an edited image becomes 8-bit."""
    judged_size: Literal["original"]
    """Edited images are resized (bicubic) to the size of the original before they are judged."""
    replies: Literal["strict", "official"]
    """How the judge's words become scores, see `tasks.gedit.viescore`."""
    judgings: int = Field(ge=1, le=20)
    """Independent judgings of every image; a sample's score is their mean."""
    judge: JudgeSettings
    prompts: PromptDigests

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> GEditSettings:
        """Check a protocol's settings; raise `UserError` naming what is missing or wrong."""
        return read_settings(cls, settings, "an editing task")
