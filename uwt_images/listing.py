"""Which files of a folder or an archive count, with links followed as torchvision and tar do."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import BinaryIO

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".gif",
    ".ppm",
    ".pgm",
    ".jp2",
    ".avif",
)
LARGEST_IMAGE = 1 << 30
"""Bytes of the largest file that is read as one picture; the largest photos have a fifth of it."""
_NOT_DATA = frozenset({"__MACOSX", "lost+found"})
_RUN_FILES = ("run.json", "record.json")
_TRAINING_FILES = ("config.json", "log.jsonl")
_HEAD = 4096

Place = tuple[int, int] | str
"""What tells one folder from another, whatever link leads to it."""
Entry = tuple[str, Place | None]
"""Name, and the folder that it is or leads to; None for a file."""


CLOCK_NS = 2_000_000_000
"""The coarsest clock of a file system in use, FAT's: what changed within it may change unseen."""


def state_of(stat: os.stat_result) -> str:
    """What changes when a file is written or replaced, whatever its times are set to."""
    size, modified, changed = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    return f"{size} {modified} {changed} {stat.st_ino} {stat.st_dev}"


class ListingError(Exception):
    """A folder, archive or split cannot be listed; one line says what, where and how to mend it."""


class UnreadableImage(Exception):
    """One image cannot be read whole; one line says why."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is never data."""
    return name.startswith(".") or name in _NOT_DATA


def suffix_of(name: str) -> str:
    """The ending of a name in lower case, with its dot."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def walk(
    entries: Callable[[str, Place], Iterable[Entry] | None], root: Place, suffixes: Collection[str]
) -> list[str]:
    """Paths of all files with one of the endings, relative to the root, sorted.

    A folder counts under each link that leads to it; only where a link leads to a folder that it
    lies in does the walk end, since it would never otherwise.

    Args:
        entries: What lies in a folder, given its path with a slash at its end and its place; None
            for a folder that is left out.
        root: The place where the walk begins.
        suffixes: The endings, in lower case.
    """
    found: list[str] = []
    pending: list[tuple[str, tuple[Place, ...]]] = [("", (root,))]
    while pending:
        path, places = pending.pop()
        for name, place in entries(path, places[-1]) or ():
            if is_hidden(name):
                continue
            if place is None:
                if suffix_of(name) in suffixes:
                    found.append(path + name)
            elif place not in places:
                pending.append((f"{path}{name}/", (*places, place)))
    found.sort()
    return found


def list_files(root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[str]:
    """Paths of the files below a folder with one of the endings, relative to it and sorted.

    Links to nowhere and what is no regular file count: reading them says what is wrong. Folders
    that runs and trainings wrote are left out.

    Raises:
        ListingError: A folder cannot be listed, or the root is such a folder itself.
    """
    base = str(root)

    def entries(path: str, _: Place) -> Iterable[Entry] | None:
        folder = f"{base}/{path}"
        try:
            with os.scandir(folder) as found:
                here = [(entry.name, _place(entry)) for entry in found]
        except OSError as error:
            raise ListingError(f"{folder}: cannot be listed ({error.strerror})") from error
        if not _is_output(folder, {name for name, _ in here}):
            return here
        if not path:
            raise ListingError(
                f"{root} is the folder of a run, not of data: give the folder of its pictures"
            )
        return None

    return walk(entries, _identity(os.stat(base)), suffixes)  # noqa: PTH116 (as of entries)


def _place(entry: os.DirEntry[str]) -> Place | None:
    try:
        return _identity(entry.stat()) if entry.is_dir() else None
    except OSError:
        return None  # A link in a circle, or a folder that went away.


def _identity(state: os.stat_result) -> Place:
    return state.st_dev, state.st_ino


def _is_output(folder: str, names: Collection[str]) -> bool:
    """Whether we wrote a folder: its pictures are results, not data."""
    if all(name in names for name in _TRAINING_FILES):
        return True
    for name in _RUN_FILES:
        if name in names and os.path.isfile(f"{folder}/{name}"):  # noqa: PTH113 (a FIFO waits)
            try:
                with open(f"{folder}/{name}", "rb") as file:  # noqa: PTH123
                    if b'"run_id"' in file.read(_HEAD):
                        return True
            except OSError:
                continue
    return False


def open_image_file(path: Path | str) -> BinaryIO:
    """Open the file of a picture.

    Raises:
        UnreadableImage: There is none, it is no regular file, or too large for a picture.
    """
    try:
        # A FIFO waits for ever once it is opened, and a device has no end.
        state = os.stat(path)  # noqa: PTH116 (as of list_files: a Path for each takes longer)
        if not stat.S_ISREG(state.st_mode):
            raise UnreadableImage("cannot be read (not a regular file)")
        check_size(state.st_size)
        return open(path, "rb")  # noqa: PTH123 (as above)
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error


def read_image_file(path: Path | str) -> bytes:
    """The bytes of a picture's file; raises as `open_image_file`."""
    try:
        with open_image_file(path) as file:
            # Of the size that it has: Python takes memory for as much as is asked for.
            return file.read(os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError | ValueError) -> UnreadableImage:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return UnreadableImage(f"cannot be read ({reason})")


def check_size(size: int) -> None:
    """Refuse what is too large for a picture; raise `UnreadableImage`."""
    if size > LARGEST_IMAGE:
        raise UnreadableImage(
            f"cannot be read ({size:,} bytes, a picture has at most {LARGEST_IMAGE:,})"
        )


def check_tar_end(archive: tarfile.TarFile) -> None:
    """Look at what follows the last member that `tarfile` found in an uncompressed archive.

    The package stops without a word at a damaged header, and where a file is cut between members.

    Raises:
        tarfile.ReadError: anything but zeros up to the end of the file, or nothing at all.
    """
    file = archive.fileobj
    assert file is not None
    file.seek(archive.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if not block:
        raise tarfile.ReadError("it is cut: the block that ends an archive is missing")
    while block:
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"damaged at byte {archive.offset:,}: no header of a member")
        block = file.read(1 << 20)
