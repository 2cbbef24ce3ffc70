"""The settings of a GenEval protocol, typed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.interfaces.protocols import Count, ModelSettings
from harness.interfaces.types import Record, Stage
from harness.metrics.settings import DrawingMeasures


class ElsewhereDetector(Record):
    """Detections come in a file, from a network that does not run in this environment."""

    source: Literal["file"]
    network: str
    """What the file's lines call the network, where they name one."""
    weights: str
    """The beginning of the SHA-256 of its weights."""


class TransformersDetector(Record):
    """A Mask2Former that transformers runs, its outputs processed as mmdet does."""

    source: Literal["transformers"]
    network: str
    """Repository on the Hugging Face hub, or a folder as transformers saves it."""
    weights: str
    """SHA-256 of `model.safetensors`; whichever lies there if empty."""
    self_check: bool
    """Look for a person, a cat and a cup in photos of one before anything else."""


Detector = ElsewhereDetector | TransformersDetector


class ColourModel(Record):
    """The classifier of an object's colour, an open_clip model."""

    teacher: str
    """open_clip's name of the model."""
    tag: str
    """open_clip's name of its weights, or a file of weights."""
    precision: Literal["float32", "amp"]
    """'amp' is float16 where a GPU computes it; a CPU computes float32 under both."""


class Rules(Record):
    """How detections become a verdict."""

    threshold: float = Field(ge=0, le=1)
    """A detection counts above this score."""
    counting_threshold: float = Field(ge=0, le=1)
    """The same for prompts of the counting task."""
    max_objects: Count
    """Detections kept of one class, best first."""
    max_overlap: float = Field(ge=0, le=1)
    """Overlap (IoU) from which the weaker of two detections is dropped; none is at 1."""
    position_margin: float = Field(ge=0)
    """Share of both objects' sizes by which an offset is shortened."""


class GenEvalSettings(DrawingMeasures, ModelSettings):
    """What GenEval reads of a protocol."""

    images_per_prompt: Annotated[Count, Stage.GENERATE]
    uint8: Annotated[Literal["round"], Stage.GENERATE]
    """How float images become 8-bit: rounded to the nearest level."""
    rules: Annotated[Rules, Stage.OBSERVE]
    detector: Annotated[Detector, Field(discriminator="source"), Stage.OBSERVE]
    colours: Annotated[ColourModel, Stage.OBSERVE]
