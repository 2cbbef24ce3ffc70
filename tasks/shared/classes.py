"""Classes of size, such as heights of text, and what columns and metrics of each are called by."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SizeClasses:
    """Classes that each begin at an edge and end where the next begins."""

    edges: tuple[int, ...]
    """Least size in each, from 0 on, in pixels."""

    def names(self) -> list[str]:
        """The classes by name: `0_12`, `12_16`, `16_up`."""
        ends = [*map(str, self.edges[1:]), "up"]
        return [f"{edge}_{end}" for edge, end in zip(self.edges, ends, strict=True)]

    def name_of(self, size: float) -> str:
        """The name of a size's class."""
        return self.names()[sum(size >= edge for edge in self.edges) - 1]

    def add(
        self, sums: MutableMapping[str, float], figures: Mapping[str, float], size: float
    ) -> None:
        """Add a thing's figures to an image's sums: to those of all things, and of its class."""
        for name, figure in figures.items():
            for column in (name, f"{name}_{self.name_of(size)}"):
                sums[column] += figure

    def titles(self) -> dict[str, str]:
        """How the classes are headed, by name: `<12 px`, `12-16 px`, `16+ px`."""
        titles = {}
        for name in self.names():
            least, end = name.split("_")
            span = f"{least}+" if end == "up" else f"{least}-{end}" if least != "0" else f"<{end}"
            titles[name] = f"{span} px"
        return titles

    def columns(self, *sums: str) -> list[str]:
        """Each sum over all things of an image, and over those of each class."""
        return [f"{name}{end}" for name in sums for end in ("", *(f"_{c}" for c in self.names()))]
