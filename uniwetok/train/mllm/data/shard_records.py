"""Records in WebDataset shards: KEY.json holds the record, KEY.NAME an image that it names.

A sample without a record is a caption and its image, KEY.txt and KEY.jpg, as in DataComp-1B.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from uniwetok.train import TrainingError
from uniwetok.train.data.shard_index import Member, list_members, split_name
from uniwetok.train.mllm.data.records import Record, RecordError, parse_line, parse_record
from uwt_images.listing import IMAGE_SUFFIXES, UnreadableImage, check_size

_RECORD, _CAPTION = "json", "txt"


@dataclass(frozen=True)
class _Sample:
    key: str
    members: dict[str, tuple[int, int]]
    """Offset and size in bytes, by what follows the key's dot."""


class ShardRecords:
    """Records of tar shards, read at their place in the tar without unpacking anything."""

    notices: tuple[str, ...] = ()
    images: Path | None = None

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read the headers of all shards.

        Raises:
            TrainingError: a shard cannot be read, or none holds a record.
        """
        self.paths = list(paths)
        self._shards: list[list[_Sample]] = []
        damage = []
        for path in self.paths:
            try:
                with path.open("rb") as file:
                    members, found = list_members(file)
            except OSError as error:
                raise TrainingError(f"shard {path} cannot be read ({error.strerror})") from error
            samples = _samples(members)
            self._shards.append(samples)
            if found:
                damage.append(f"{path}: {found}; {len(samples)} records before are used")
        self.damage = tuple(damage)
        self._ends = np.cumsum([len(samples) for samples in self._shards])
        if not len(self):
            reason = f"; {damage[0]}" if damage else ""
            raise TrainingError(
                f"{self.paths[0]}: holds no record; looked for KEY.json, and for KEY.txt beside "
                f"an image{reason}"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def record(self, index: int) -> Record:
        """Read a record; raise `RecordError` where it is malformed."""
        _, sample = self._locate(index)
        if _RECORD in sample.members:
            line = self._read(index, _RECORD)
            if _CAPTION not in sample.members or b'"kind"' in line:
                return parse_line(line)
        image = next((name for name in sample.members if _is_image(name)), None)
        if image is None:
            raise RecordError("", f"{sample.key}.txt has no image beside it", "add KEY.jpg")
        try:
            text = self._read(index, _CAPTION).decode()
        except UnicodeDecodeError as error:
            raise RecordError(
                "text", f"{sample.key}.txt is not UTF-8", "save it as such"
            ) from error
        return parse_record({"kind": "text-image", "text": text, "image": image})

    def where(self, index: int) -> tuple[str, int]:
        """Return the shard with the sample's key, and its place, from 1."""
        shard, sample = self._locate(index)
        place = index - int(self._ends[shard] - len(self._shards[shard])) + 1
        return f"{self.paths[shard]}/{sample.key}", place

    def image_key(self, index: int, name: str) -> str:
        """Return SHARD/KEY.NAME."""
        shard, sample = self._locate(index)
        return f"{self.paths[shard]}/{sample.key}.{name}"

    def image_file(self, index: int, name: str) -> Path:  # noqa: ARG002 (a shard holds all)
        """Return the shard."""
        return self.paths[self._locate(index)[0]]

    def open_image(self, index: int, name: str) -> BinaryIO:
        """Open KEY.NAME; raise `UnreadableImage` where that fails."""
        _, sample = self._locate(index)
        if name not in sample.members:
            images = ", ".join(filter(_is_image, sample.members)) or "none"
            raise UnreadableImage(f"{sample.key}.{name} is not in the shard (images: {images})")
        return io.BytesIO(self._read(index, name))

    def _read(self, index: int, name: str) -> bytes:
        shard, sample = self._locate(index)
        offset, size = sample.members[name]
        try:
            with self.paths[shard].open("rb") as file:
                check_size(size)
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise UnreadableImage(f"{self.paths[shard]}: {error.strerror}") from error

    def _locate(self, index: int) -> tuple[int, _Sample]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        samples = self._shards[shard]
        return shard, samples[index - int(self._ends[shard]) + len(samples)]


def _samples(members: list[Member]) -> list[_Sample]:
    """Gather the members of each key that has a record or a caption, in the order of the tar."""
    samples: dict[str, _Sample] = {}
    for name, offset, size in members:
        key, extension = split_name(name)
        if key:
            sample = samples.setdefault(key, _Sample(key, {}))
            sample.members.setdefault(extension, (offset, size))
    return [
        sample
        for sample in samples.values()
        if _RECORD in sample.members or _CAPTION in sample.members
    ]


def _is_image(name: str) -> bool:
    return f".{name.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES
