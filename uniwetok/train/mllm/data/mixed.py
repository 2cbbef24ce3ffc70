"""Several sources of records as one, numbered one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from uniwetok.train.data.mixed import Joined
from uniwetok.train.mllm.data.records import Record
from uniwetok.train.mllm.data.source import RecordSource


class MixedRecords(Joined[RecordSource]):
    """Records of several sources, one source after the other."""

    images: Path | None = None

    def __init__(self, members: Mapping[str, RecordSource]) -> None:
        super().__init__(members)
        self.notices = tuple(self._named("notices"))

    @property
    def paths(self) -> Sequence[Path]:
        """Files of the records of all sources."""
        return [path for source in self._sources for path in source.paths]

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged in each source."""
        return tuple(self._named("damage"))

    def record(self, index: int) -> Record:
        """Read a record; raise `RecordError` where it is malformed."""
        _, source, place = self.find(index)
        return source.record(place)

    def where(self, index: int) -> tuple[str, int]:
        """Return the file of a record, and its line or its place in the shard, from 1."""
        _, source, place = self.find(index)
        return source.where(place)

    def image_key(self, index: int, name: str) -> str:
        """Return what is the same wherever records name the same image."""
        _, source, place = self.find(index)
        return source.image_key(place, name)

    def image_file(self, index: int, name: str) -> Path:
        """Return the file that holds an image, whether it is there or not."""
        _, source, place = self.find(index)
        return source.image_file(place, name)

    def open_image(self, index: int, name: str) -> BinaryIO:
        """Open the file of an image; raise `UnreadableImage` where it is not there."""
        _, source, place = self.find(index)
        return source.open_image(place, name)

    def _named(self, what: str) -> Iterator[str]:
        return (
            f"source {name}: {line}"
            for name, source in self.members.items()
            for line in getattr(source, what)
        )
