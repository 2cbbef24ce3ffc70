"""The settings of a GEdit-Bench protocol, typed."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from harness.data.images import DecodeRule
from harness.interfaces.protocols import Count, ModelSettings
from harness.interfaces.types import Record, Stage
from harness.judges import JudgeSettings


class InputSize(Record):
    """How large originals are when a model edits them."""

    area: int = Field(ge=1, le=2**28)
    """Pixels to aim at."""
    multiple: Count
    """What both sides are multiples of, in pixels."""
    kernel: Literal["pil-bicubic"]

    def of_original(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that the published script gives an original, near `area` pixels.

        Both sides are rounded to the nearest multiple; then the width alone grows by one multiple
        where the area is too small, and shrinks by one where it is too large, which shifts the
        ratio (`calculate_dimensions` of GEdit-Bench's `generate_image_example.py`). Sides of 0,
        with which the script fails, are one multiple.
        """
        ratio = width / height
        exact = math.sqrt(self.area * ratio)
        columns, rows = (round(side / self.multiple) for side in (exact, exact / ratio))
        area = columns * rows * self.multiple**2
        columns += (area < self.area) - (area > self.area)
        return max(1, columns) * self.multiple, max(1, rows) * self.multiple


class PromptDigests(Record):
    """SHA-256 of the texts that the judge is given."""

    semantics: str
    """With '<instruction>' in the instruction's place."""
    quality: str


class GEditSettings(ModelSettings):
    """What a GEdit-Bench task reads of a protocol."""

    decode: Annotated[DecodeRule, Stage.GENERATE]
    input: Annotated[InputSize, Stage.GENERATE]
    uint8: Annotated[Literal["round"], Stage.GENERATE]
    """How an edited image becomes 8-bit."""
    judged_size: Annotated[Literal["original"], Stage.OBSERVE]
    """Edited images are resized (bicubic) to the size of the original before they are judged."""
    replies: Annotated[Literal["strict", "official"], Stage.OBSERVE]
    """How the judge's words become scores, see `tasks.gedit.viescore`."""
    judgings: Annotated[int, Field(ge=1, le=20), Stage.OBSERVE]
    """Independent judgings of every image; a sample's score is their mean."""
    judge: Annotated[JudgeSettings, Stage.OBSERVE]
    prompts: Annotated[PromptDigests, Stage.OBSERVE]
