"""The settings of a zero-shot protocol, typed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.data.images import DecodeRule
from harness.interfaces.protocols import ModelSettings
from harness.interfaces.types import Record, Stage
from tasks.recon.data import Geometry


class OpenClipClassifier(Record):
    """Class vectors from the text tower of an open_clip model."""

    source: Literal["open_clip"]
    teacher: str
    """open_clip's name of the model."""
    tag: str
    """open_clip's name of its weights."""
    templates: str
    """SHA-256 of open_clip's OPENAI_IMAGENET_TEMPLATES, each with '{}' in the name's place."""
    class_names: str
    """SHA-256 of open_clip's IMAGENET_CLASSNAMES."""

    @property
    def space(self) -> str:
        """The embeddings that the vectors are compared with."""
        return f"{self.teacher}/{self.tag}"


class LiteClassifier(Record):
    """Class vectors from the last layer of EfficientNet-Lite0, without its bias."""

    source: Literal["efficientnet-lite0"]
    weights: str
    """SHA-256 of the weights' file."""

    @property
    def space(self) -> str:
        """The embeddings that the vectors are compared with."""
        return self.source


class FileClassifier(Record):
    """Class vectors from an `.npz` with `vectors` (classes, width) and `folders` (classes,)."""

    source: Literal["file"]
    space: str
    """The embeddings that the vectors are compared with, as the model names them."""
    path: str
    """The file; `folders` holds the name of each class's folder of images."""
    sha256: str
    """SHA-256 of the file."""


Classifier = OpenClipClassifier | LiteClassifier | FileClassifier


class ZeroShotSettings(ModelSettings):
    """What a zero-shot task reads of a protocol."""

    decode: Annotated[DecodeRule, Stage.GENERATE]
    geometry: Annotated[Geometry, Stage.GENERATE]
    logits: Annotated[Literal["float64"], Stage.OBSERVE]
    """Precision of normalising and of comparing an embedding with the class vectors."""
    ties: Annotated[Literal["lower-index"], Stage.OBSERVE]
    """The class with the lower index comes first where scores are equal."""
    classifier: Annotated[Classifier, Field(discriminator="source"), Stage.OBSERVE]
