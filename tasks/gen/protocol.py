"""The settings of a class-to-image protocol, typed, and the names of classes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import model_validator

from harness.data.images import DecodeRule
from harness.interfaces.protocols import Count
from harness.interfaces.types import Stage
from harness.metrics.settings import SetMeasures, TappedInception

if TYPE_CHECKING:
    from harness.interfaces import ClassToImage


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """The 1,000 names that open_clip gives the classes, in the order of every classifier."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return tuple(IMAGENET_CLASSNAMES)


def own_names(model: ClassToImage) -> tuple[str, ...]:
    """What a model itself calls its classes, in order; nothing where it offers no names."""
    return tuple(getattr(model, "class_names", ()))


def names_of(model: ClassToImage) -> tuple[str, ...]:
    """A model's own names, or ImageNet's for one of as many classes; nothing for any other."""
    names = own_names(model)
    return names or (imagenet_names() if model.classes == len(imagenet_names()) else ())


class GenSettings(SetMeasures):
    """What a class-to-image task reads of a protocol."""

    decode: Annotated[DecodeRule, Stage.OBSERVE]
    """How a reference that is a folder of image files is decoded."""
    classes: Annotated[Count, Stage.GENERATE]
    """Classes that are drawn, from 0."""
    class_names: Annotated[tuple[str, ...], Stage.GENERATE] = ()
    """Their names; empty for ImageNet's classes."""
    samples_per_class: Annotated[Count, Stage.GENERATE]
    """Images of each."""
    order: Annotated[Literal["cycle", "sorted"], Stage.GENERATE]
    """'cycle' draws one image of every class, then the next of every class; 'sorted' all of a class
    together. Scores over sequential splits depend on it."""
    size: Annotated[Count | None, Stage.OBSERVE] = None
    """Height and width of every image, in pixels; any where None. Networks see images resized, so
    that results of other sizes would not compare and look as if they did."""
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
        """The classes in words: the first and last name, or ImageNet's."""
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
