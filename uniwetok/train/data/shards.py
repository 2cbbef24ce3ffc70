"""WebDataset shards in the layout of DataComp-1B: tars of KEY.jpg, KEY.json and KEY.txt."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniwetok.train import TrainingError
from uniwetok.train.data.shard_index import ShardIndex, shard_index
from uniwetok.train.data.source import decode_rgb
from uwt_images.listing import IMAGE_SUFFIXES, UnreadableImage, check_size

OnProgress = Callable[[int, int], None]
"""Takes the number of shards listed and the number of all."""
_THREADS = 16


class ShardImages:
    """Images of tar shards, read at their place in the tar without unpacking anything.

    Memory holds a number a shard; the index of a shard is loaded when it is read from, so that
    a billion images cost no more than their shards.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        on_progress: OnProgress | None = None,
        notices: tuple[str, ...] = (),
    ) -> None:
        """List the shards; the first time their headers are read, later the cached index.

        Raises:
            TrainingError: a shard is missing, or none holds an image.
        """
        self._paths = [Path(path) for path in paths]
        self._root = Path(os.path.commonpath([path.parent for path in self._paths]))
        self._states = [_state(path) for path in self._paths]
        counts, damage = [], []
        with ThreadPoolExecutor(min(_THREADS, len(self._paths))) as pool:
            indices = pool.map(self._index, range(len(self._paths)))
            for path, index in zip(self._paths, indices, strict=True):
                counts.append(len(index))
                if index.damage:
                    damage.append(f"{path}: {index.damage}; {len(index)} images before are used")
                if on_progress is not None:
                    on_progress(len(counts), len(self._paths))
        self.notices = (*notices, *damage)
        self._parts = np.array(counts, np.int64)
        self._ends = np.cumsum(self._parts)
        if not len(self):
            reason = f"; {len(damage)} damaged, first {damage[0]}" if damage else ""
            raise TrainingError(
                f"{self._paths[0]} and {len(self._paths) - 1} more shards hold no image: looked "
                f"for members KEY{', KEY'.join(IMAGE_SUFFIXES)}{reason}"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def parts(self) -> NDArray[np.int64]:
        """Images of each shard."""
        return self._parts

    def files(self) -> Iterator[Path]:
        """Yield the shards."""
        return iter(self._paths)

    def read(self, index: int, covering: tuple[int, int] | None = None) -> Image.Image:
        """Decode an image; raise `UnreadableImage` where that fails."""
        shard, row, rows = self._locate(index)
        offset, size = rows.place(row)
        try:
            with self._paths[shard].open("rb") as file:
                file.seek(offset)
                check_size(size)
                return decode_rgb(file.read(size), covering)
        except OSError as error:
            raise UnreadableImage(f"{self._paths[shard]}: {error.strerror}") from error
        except UnreadableImage as error:
            raise UnreadableImage(f"{self._paths[shard]}: {rows.key(row)}: {error}") from error

    def label(self, index: int) -> int | None:
        """Return what KEY.cls says, where there is one."""
        _, row, rows = self._locate(index)
        return rows.label(row)

    def id(self, index: int) -> str:
        """Return SHARD/KEY, the shard relative to the folder of all."""
        shard, row, rows = self._locate(index)
        return f"{self._paths[shard].relative_to(self._root).as_posix()}/{rows.key(row)}"

    def _index(self, shard: int) -> ShardIndex:
        return shard_index(self._paths[shard], *self._states[shard])

    def _locate(self, index: int) -> tuple[int, int, ShardIndex]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        rows = self._index(shard)
        if len(rows) != self._parts[shard]:
            raise TrainingError(
                f"{self._paths[shard]} was changed during the run; resume from the last checkpoint"
            )
        return shard, index - int(self._ends[shard] - self._parts[shard]), rows


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise TrainingError(f"shard {path} cannot be read ({error.strerror})") from error
    return state.st_size, state.st_mtime_ns
