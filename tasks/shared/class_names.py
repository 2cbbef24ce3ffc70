"""Names of classes for people: a model's own, or ImageNet's."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

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
