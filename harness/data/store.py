"""The files of one run: written whole or not at all, found again by what they were made from.

```
RUN/run.json                       what the run is: configuration and keys
RUN/run.lock                       held while a run works here
RUN/outputs/000012-KEY.parquet     what the model produced for block 12
RUN/observations/NAME/000012-KEY.parquet   what extractor NAME saw in block 12
RUN/pictures/000003.png            reconstructions kept for the picture grid
RUN/record.json samples.parquet grid.png   the result
```
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from harness.interfaces.errors import UserError

_TEMPORARY = ".tmp-"
_KEY_DIGITS = 16
_WORK = ("*.parquet", "*.jsonl")
"""Files that a later run goes on with."""


class Store:
    """Reads and writes the files of one run directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one run; raise `UserError` where another run has it.

        Where the run is refused before it has made anything, a new directory goes again.
        """
        fresh = not self.root.exists()
        with _clear_write_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / "run.lock")
        try:
            with _clear_write_errors(self.root):
                lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"{self.root} is in use by another run: wait for it, or give another --out"
            ) from error
        try:
            for left_over in self.root.rglob(f"{_TEMPORARY}*"):
                left_over.unlink(missing_ok=True)
            yield
        except UserError:
            if fresh and not any(any(self.root.rglob(work)) for work in _WORK):
                shutil.rmtree(self.root, ignore_errors=True)
            raise
        finally:
            lock.release()

    def write(self, name: str, write: Callable[[Path], None]) -> Path:
        """Let `write` fill a temporary file, then move it to `name` in one step."""
        target = self.root / name
        with _clear_write_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.parent / f"{_TEMPORARY}{uuid.uuid4().hex}{target.suffix}"
            try:
                write(temporary)
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        return target

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file that people can read."""
        return self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Write a text as UTF-8."""

        def write(path: Path) -> None:
            path.write_text(text, encoding="utf-8")

        return self.write(name, write)

    def _part(self, stage: str, block: int, key: str) -> str:
        return f"{stage}/{block:06d}-{key[:_KEY_DIGITS]}.parquet"

    def has_part(self, stage: str, block: int, key: str, rows: int) -> bool:
        """Whether a readable part with that many rows is there for this block and key."""
        path = self.root / self._part(stage, block, key)
        try:
            return bool(pq.read_metadata(path).num_rows == rows)
        except (OSError, pa.ArrowInvalid):
            return False

    def write_part(self, stage: str, block: int, key: str, table: pa.Table) -> None:
        """Write a block's rows."""
        self.write(self._part(stage, block, key), lambda path: pq.write_table(table, path))

    def read_part(
        self, stage: str, block: int, key: str, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Read a block's rows; of all columns where None are named."""
        return pq.read_table(self.root / self._part(stage, block, key), columns=columns)

    def adopt(self, other: Path, names: Sequence[str]) -> None:
        """Link another run's files, or all below a folder of that name, where there is none yet."""
        for name in names:
            for source in [other / name, *sorted((other / name).rglob("*"))]:
                target = self.root / source.relative_to(other)
                whole = source.is_file() and not source.name.startswith(_TEMPORARY)
                if whole and not target.exists():
                    with _clear_write_errors(target):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        link(source, target)

    def discard_part(self, stage: str, block: int, key: str) -> None:
        """Forget a block, so that it is computed again."""
        (self.root / self._part(stage, block, key)).unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Link a file, or copy it where it lies on another disk; replaces what is there.

    A linked file must never be changed, only replaced, as `Store.write` does.
    """
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextlib.contextmanager
def _clear_write_errors(target: Path) -> Iterator[None]:
    """Turn the file system's refusals into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise UserError(
                f"disk full while writing {target}: free some space and run the same command "
                "again, finished work is kept"
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
            raise UserError(
                f"cannot write {target} ({error.strerror}): give another --out"
            ) from error
        raise
