"""The settings of a class-to-image protocol, typed, and the pixel rule they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import model_validator

from harness.data.images import DecodeRule
from harness.interfaces.types import Stage
from harness.metrics.settings import Positive, SetMeasures, TappedInception
from tasks.shared.class_names import imagenet_names

if TYPE_CHECKING:
    from torch import Tensor


class GenSettings(SetMeasures):
    """What a class-to-image task reads of a protocol."""

    decode: Annotated[DecodeRule, Stage.OBSERVE]
    """Of a reference that is a folder of image files."""
    classes: Annotated[Positive, Stage.GENERATE]
    """Classes that are drawn, from 0."""
    class_names: Annotated[tuple[str, ...], Stage.GENERATE] = ()
    """Their names; empty for ImageNet's classes."""
    samples_per_class: Annotated[Positive, Stage.GENERATE]
    """Images of each."""
    order: Annotated[Literal["cycle", "sorted"], Stage.GENERATE]
    """'cycle' draws one image of every class, then the next of every class; 'sorted' all of a class
    together. Scores over sequential splits depend on it."""
    uint8: Annotated[Literal["half-up"], Stage.GENERATE]
    """How float images become 8-bit: the integer part of 127.5 x + 128, clamped."""
    inception: TappedInception

    @model_validator(mode="after")
    def _names_are_those_of_the_classes(self) -> Self:
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(
                f"class_names has {len(self.class_names)} names for {self.classes} classes"
            )
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
