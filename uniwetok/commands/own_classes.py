"""A protocol for a class-to-image model of classes that are not ImageNet's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniwetok.files import replaced

if TYPE_CHECKING:
    from uniwetok.train.data.source import ImageSource

IMAGENET_CLASSES = 1000
PROTOCOL_FILE = "protocol.toml"
"""In a run's folder: the protocol of its classes."""
_BASE = "nano"
"""The protocol whose arithmetic is taken."""


def class_names(source: ImageSource | None, classes: int) -> list[str]:
    """Name classes by the sub-folders that hold their images, the others by their numbers."""
    names = list(getattr(source, "class_names", ()))
    # JSON and TOML hold no half of a surrogate pair, which stands for a byte that is no text.
    names = [name.encode("utf-8", "replace").decode() for name in names]
    named = names if len(names) <= classes else []
    return [*named, *(str(label) for label in range(len(named), classes))]


def write_protocol(path: Path, names: Sequence[str]) -> None:
    """Write a protocol file that draws these classes, with enough images for FID's features."""
    from harness.engine.protocols import find
    from harness.interfaces.registry import TASKS

    settings = dict(find(_BASE, TASKS.get("imagenet-gen").spec).settings)
    least = settings["inception"]["min_samples"]
    settings |= {
        "classes": len(names),
        "class_names": list(names),
        "samples_per_class": max(settings["samples_per_class"], -(-least // len(names))),
    }
    description = f"The arithmetic of `{_BASE}` over the {len(names)} classes of this run."
    lines = [
        f"title = {_toml(f'The classes of {path.parent.name}')}",
        f"description = {_toml(description)}",
        "",
        "[kind.c2i]",
        *(f"{name} = {_toml(value)}" for name, value in settings.items()),
    ]
    with replaced(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
