"""Several sources of images as one, numbered one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniwetok.train import TrainingError
from uniwetok.train.data.places import DataPlace
from uniwetok.train.data.source import ImageSource


class Sized(Protocol):
    """Anything that has a length."""

    def __len__(self) -> int:
        """Return it."""
        ...


S = TypeVar("S", bound=Sized)


class Joined(Generic[S]):
    """Sources whose items are numbered one source after the other.

    Attributes:
        members: the sources by name.
        sizes: items of each.
    """

    def __init__(self, members: Mapping[str, S]) -> None:
        self.members = dict(members)
        self._sources = list(members.values())
        self.sizes = [len(source) for source in self._sources]
        self._ends = np.cumsum(self.sizes)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def find(self, index: int) -> tuple[int, S, int]:
        """Return the number of an item's source, the source, and the item's number in it."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, self._sources[number], index - int(self._ends[number] - self.sizes[number])


def open_each(
    places: Sequence[DataPlace],
    open_one: Callable[[DataPlace], S],
    join: Callable[[Mapping[str, S]], S],
) -> S:
    """Open one place, or join several.

    Raises:
        TrainingError: one cannot be opened; the message names it.
    """
    opened: dict[str, S] = {}
    for place in places:
        try:
            opened[place.name] = open_one(place)
        except TrainingError as error:
            raise TrainingError(f"source {place.name}: {error}" if place.name else error) from error
    return join(opened) if len(opened) > 1 else opened[places[0].name]


class MixedImages(Joined[ImageSource]):
    """Images of several sources, one source after the other.

    Attributes:
        class_names: of all sources that have classes with names, sorted; empty where not all have.
    """

    def __init__(self, members: Mapping[str, ImageSource]) -> None:
        super().__init__(members)
        self._names = list(members)
        named = [tuple(getattr(source, "class_names", ())) for source in self._sources]
        every = all(named)
        self.class_names = tuple(
            sorted({name for names in named for name in names} if every else ())
        )
        number = {name: label for label, name in enumerate(self.class_names)}
        # The same class of two folders has one number, whatever other classes each holds.
        self._labels = [[number[name] for name in names] if every else None for names in named]

    @property
    def parts(self) -> NDArray[np.int64]:
        """Images of each part of each source."""
        return np.concatenate([source.parts for source in self._sources])

    def files(self) -> Iterator[Path]:
        """Yield the files of all sources."""
        return (path for source in self._sources for path in source.files())

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user must know of each source."""
        named = self.members.items()
        return tuple(f"source {name}: {line}" for name, each in named for line in each.notices)

    def read(self, index: int, covering: tuple[int, int] | None = None) -> Image.Image:
        """Decode an image; raise `UnreadableImage` where that fails."""
        _, source, place = self.find(index)
        return source.read(place, covering)

    def label(self, index: int) -> int | None:
        """Return the class of an image, numbered over all sources."""
        member, source, place = self.find(index)
        label, numbers = source.label(place), self._labels[member]
        return label if label is None or numbers is None else numbers[label]

    def id(self, index: int) -> str:
        """Return NAME/ID."""
        member, source, place = self.find(index)
        return f"{self._names[member]}/{source.id(place)}"


def parts_of(source: ImageSource) -> Sequence[NDArray[np.int64]]:
    """Give the parts of each source that is mixed, or of the only one; for `MixedOrder`."""
    members = source.members.values() if isinstance(source, MixedImages) else [source]
    return [member.parts for member in members]
