"""Names of ImageNet's classes for people."""

from __future__ import annotations

import functools


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """The 1,000 names that open_clip gives the classes, in the order of every classifier."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return tuple(IMAGENET_CLASSNAMES)


def class_name(label: int) -> str:
    """A class's name; empty where the number is none of ImageNet's."""
    names = imagenet_names()
    return names[label] if 0 <= label < len(names) else ""
