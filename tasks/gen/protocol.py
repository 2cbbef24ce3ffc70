"""The settings of a class-to-image protocol, typed, and the pixel rule they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from harness.data.images import DecodeRule
from harness.interfaces.types import Record
from tasks.shared.class_names import imagenet_names
from tasks.shared.protocol_settings import read_settings

if TYPE_CHECKING:
    from torch import Tensor


class GenSettings(Record):
    """What a class-to-image task itself reads of a protocol."""

    decode: DecodeRule
    """Of a reference that is a folder of image files."""
    classes: int = Field(ge=1)
    """Classes that are drawn, from 0."""
    class_names: tuple[str, ...] = ()
    """Their names; empty for ImageNet's classes."""
    samples_per_class: int = Field(ge=1)
    """Images of each."""
    order: Literal["cycle", "sorted"]
    """'cycle' draws one image of every class, then the next of every class; 'sorted' all of a class
    together. Scores over sequential splits depend on it."""
    uint8: Literal["half-up"]
    """How float images become 8-bit: the integer part of 127.5 x + 128, clamped."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> GenSettings:
        """Check a protocol's settings; raise `UserError` naming what is missing or wrong."""
        return read_settings(cls, settings, "a class-to-image task")

    @model_validator(mode="after")
    def _names_are_those_of_the_classes(self) -> Self:
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"class_names has {len(self.class_names)} for {self.classes} classes")
        return self

    @property
    def described(self) -> str:
        """Whose classes they are, in words."""
        names = self.class_names
        return f"{names[0]!r} to {names[-1]!r}" if names else "ImageNet's"

    def name(self, label: int) -> str:
        """A class's name; empty where it has none."""
        names = self.class_names or imagenet_names()
        return names[label] if label < len(names) else ""

    def label(self, index: int) -> tuple[int, int]:
        """Class of a sample by its place, and how many of that class come before it."""
        if self.order == "sorted":
            return divmod(index, self.samples_per_class)
        number, label = divmod(index, self.classes)
        return label, number

    def to_uint8(self, image: Tensor) -> np.ndarray:
        """float32 (3, H, W) in [-1, 1] to uint8 (H, W, 3)."""
        levels = (image * 127.5 + 128).clamp(0, 255)
        pixels: np.ndarray = levels.byte().permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(pixels)
