"""The files of one run: written whole or not at all, found again by what they were made from.

```
RUN/run.json                       what the run is: configuration and keys
RUN/run.lock                       held while a run works here: which process, on which machine
RUN/outputs/000012-KEY.parquet     what the model produced for block 12
RUN/observations/NAME/000012-KEY.parquet   what extractor NAME saw in block 12
RUN/pictures/000003.png            reconstructions kept for the picture grid
RUN/images/000012.npz              generated images of block 12, then all of them in samples.npz
RUN/record.json samples.parquet grid.png   the result
```

Parts, images and records carry checksums (`harness.data.digests`): one that is damaged counts as
missing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from harness.data.digests import Damaged, check_arrays, read_arrays, read_table, sealed, write_table
from harness.interfaces.errors import UserError, warn

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from harness.interfaces.types import Record

_TEMPORARY = ".tmp-"
LOCK_FILE = "run.lock"
"""Held by whoever works in a directory; says which process, on which machine."""
_KEY_DIGITS = 16
_WORK = ("*.parquet", "*.jsonl")
"""Files from which a later run resumes."""
SAMPLES_FILE = "samples.npz"
"""`arr_0`, uint8 (N, H, W, 3) in the order of the samples, as ADM's evaluation reads it, and where
images are of classes `arr_1`, int64 (N,), as ADM's sampler writes it."""
ROWS_FILE = "samples.parquet"
"""What was stored and observed of every sample, in one table."""
_IMAGES = "images"


class InUse(UserError):
    """A run directory that another run holds."""

    def __init__(self, root: Path) -> None:
        self.held = f"{root} is in use by another run{holder(root / LOCK_FILE)}"
        """Which one it is, and who holds it."""
        super().__init__(f"{self.held}: wait for it, or give another --out")


def nearest(path: Path) -> Path:
    """The path, or the first above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def check_folder(path: Path) -> None:
    """Raise `UserError` where a folder to write is a file, or would lie in one; makes nothing."""
    if not (there := nearest(path)).is_dir():
        raise UserError(f"cannot write {path}: {there} is a file, no folder: give another place")


def holder(lock: Path) -> str:
    """Who holds a lock, in brackets; '' where that is not known."""
    try:
        process, host = lock.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return ""
    return f" (process {process}{'' if host == socket.gethostname() else f' on {host}'})"


def tell_holder(lock: Path, *, here: bool) -> None:
    """Write that this process holds a lock, or nobody; as far as anything can be written there."""
    text = f"{os.getpid()}\n{socket.gethostname()}\n" if here else ""
    with contextlib.suppress(OSError):  # No folder any more, a full disk, nobody may write.
        lock.write_text(text, encoding="utf-8")


class Store:
    """Reads and writes the files of one run directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one run; raise `InUse` where another run has it.

        Where the run is refused before it has made anything, a new directory goes again.
        """
        check_folder(self.root)
        new = [each for each in (self.root, *self.root.parents) if not each.exists()]
        with _clear_write_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / LOCK_FILE)
        try:
            with _clear_write_errors(self.root):
                lock.acquire(timeout=0)
        except Timeout as error:
            raise InUse(self.root) from error
        try:
            tell_holder(self.root / LOCK_FILE, here=True)
            for left_over in self.root.rglob(f"{_TEMPORARY}*"):
                left_over.unlink(missing_ok=True)
            yield
        except UserError:
            if new and not any(any(self.root.rglob(work)) for work in _WORK):
                shutil.rmtree(self.root, ignore_errors=True)
                with contextlib.suppress(OSError):  # Another run may have come into one of them.
                    for folder in new[1:]:
                        folder.rmdir()
            raise
        finally:
            tell_holder(self.root / LOCK_FILE, here=False)
            lock.release()

    def check_place(self) -> None:
        """Raise `UserError` where the directory can certainly not be made, before any work."""
        check_folder(self.root)
        with _clear_write_errors(self.root):
            if not os.access(nearest(self.root), os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def clear(self) -> None:
        """Remove everything that the run has made; with the directory locked."""
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK_FILE:
                path.unlink()

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

    def write_record(self, name: str, record: Record) -> Path:
        """Write a record as JSON with its checksum."""
        return self.write_json(name, sealed(record.model_dump(mode="json")))

    def write_table(self, name: str, table: pa.Table) -> Path:
        """Write a table with its checksum."""
        return self.write(name, lambda path: write_table(table, path))

    @staticmethod
    def part_name(stage: str, block: int, key: str) -> str:
        """Where a block's rows lie below the run directory."""
        return f"{stage}/{block:06d}-{key[:_KEY_DIGITS]}.parquet"

    def has_part(self, stage: str, block: int, key: str, rows: int) -> bool:
        """Whether a whole part with that many rows is there for this block and key."""
        return self.read_part(stage, block, key, rows, ["id"]) is not None

    def write_part(self, stage: str, block: int, key: str, table: pa.Table) -> None:
        """Write a block's rows."""
        self.write_table(self.part_name(stage, block, key), table)

    def read_part(
        self, stage: str, block: int, key: str, rows: int, columns: Sequence[str] | None = None
    ) -> pa.Table | None:
        """Read a block's rows, of all columns where None are named.

        None where the part is missing, is damaged, which is said, or has another number of rows.
        """
        path = self.root / self.part_name(stage, block, key)
        try:
            table = read_table(path, columns)
        except FileNotFoundError:
            return None
        except Damaged as error:
            warn(f"what {path} held counts as missing: {error.reason}")
            return None
        return table if table.num_rows == rows else None

    def adopt(self, other: Path, names: Sequence[str]) -> None:
        """Link another run's files, or all below a folder of that name, where there is none yet."""
        for name in names:
            for source in [other / name, *sorted((other / name).rglob("*"))]:
                target = self.root / source.relative_to(other)
                whole = source.is_file() and not source.name.startswith(_TEMPORARY)
                if whole and not target.exists():
                    # The other run may have just ended.
                    with contextlib.suppress(FileNotFoundError):
                        self.take(other, str(source.relative_to(other)))

    def take(self, other: Path, name: str) -> None:
        """Link another run's file in place of what there is."""
        target = self.root / name
        with _clear_write_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            link(other / name, target)

    def discard_part(self, stage: str, block: int, key: str) -> None:
        """Forget a block, so that it is computed again."""
        (self.root / self.part_name(stage, block, key)).unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Link a file, or copy it where it lies on another disk; replaces what is there.

    A linked file must never be changed, only replaced, as `Store.write` does.
    """
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


_NO_ROOM = {
    errno.ENOSPC: ("disk full", "free some space"),
    errno.EDQUOT: ("disk full", "free some space"),
    errno.EFBIG: ("limit of a file's size reached", "raise `ulimit -f`"),
}
_REFUSED = {
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY),
}


@contextlib.contextmanager
def _clear_write_errors(target: Path) -> Iterator[None]:
    """Turn the file system's refusals into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            what, how = _NO_ROOM[error.errno]
            raise UserError(
                f"{what} while writing {target}: {how} and run the same command again, finished "
                "work is kept"
            ) from error
        if error.errno in _REFUSED:
            raise UserError(
                f"cannot write {target} ({error.strerror}): give another --out"
            ) from error
        raise


def has_images(store: Store, block: int) -> bool:
    """Check whether the images of a block, or of the whole run, are stored."""
    if (store.root / SAMPLES_FILE).is_file():
        return True
    try:
        read_arrays(store.root / images_name(block))
    except (Damaged, FileNotFoundError):
        return False
    return True


def discard_damaged_images(store: Store) -> None:
    """Remove all images of the run where they are not as they were written, and say so."""
    path = store.root / SAMPLES_FILE
    try:
        check_arrays(path)
    except FileNotFoundError:
        return
    except Damaged as error:
        warn(f"{path} counts as missing: {error.reason}")
        path.unlink()


def write_images(store: Store, block: int, images: Sequence[np.ndarray]) -> None:
    """Keep a block's images, uint8 (H, W, 3) each."""
    import numpy as np

    stacked = np.stack(images)
    store.write(images_name(block), lambda path: np.savez(path, stacked))


def join_images(store: Store, blocks: int, classes: Sequence[int] | None = None) -> Path:
    """Write all blocks' images as `samples.npz`, then remove them; do nothing where it is done.

    Args:
        store: the run's.
        blocks: Blocks of images, in order.
        classes: one an image; None where they have none.
    """
    target = store.root / SAMPLES_FILE
    if not target.is_file():
        parts = [store.root / images_name(block) for block in range(blocks)]
        store.write(SAMPLES_FILE, lambda path: _write_npz(path, parts, classes))
    shutil.rmtree(store.root / _IMAGES, ignore_errors=True)
    return target


def images_name(block: int) -> str:
    """Where a block's images lie below the run directory, until they are joined."""
    return f"{_IMAGES}/{block:06d}.npz"


def _write_npz(path: Path, parts: Sequence[Path], classes: Sequence[int] | None) -> None:
    """Write the images uncompressed, a part at a time: 50,000 images do not fit into memory."""
    import numpy as np

    shapes = [_shape(part) for part in parts]
    shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            for part in parts:
                member.write(read_arrays(part)["arr_0"].data)
        if classes is not None:
            with archive.open("arr_1.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(classes, dtype=np.int64))


def _shape(part: Path) -> tuple[int, ...]:
    import numpy as np

    with zipfile.ZipFile(part) as archive, archive.open("arr_0.npy") as member:
        np.lib.format.read_magic(member)
        shape: tuple[int, ...] = np.lib.format.read_array_header_1_0(member)[0]
        return shape
