"""One training at a time in a run's folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from harness.data.store import LOCK_FILE, check_folder, holder, tell_holder
from harness.interfaces.errors import UserError

_PATIENCE = 6.0
"""Seconds in which the decoding processes of a killed run end, which may hold what it held."""


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a run's folder for one training; one that writes nothing leaves nothing.

    Raises:
        UserError: another training holds it, or nothing can be written there.
    """
    check_folder(out)
    new = [each for each in (out, *out.parents) if not each.exists()]
    before = _names(out)
    path = out / LOCK_FILE
    lock = FileLock(path)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_PATIENCE)
    except Timeout as error:
        raise UserError(
            f"{out} is in use by another training{holder(path)}: wait for it, or give another --out"
        ) from error
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}): give another --out") from error
    tell_holder(path, here=True)
    try:
        yield
    finally:
        tell_holder(path, here=False)
        lock.release()
        if LOCK_FILE not in before and _names(out) == before | {LOCK_FILE}:
            _remove(path, new)


def _names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()} if folder.is_dir() else set()


def _remove(path: Path, folders: list[Path]) -> None:
    with contextlib.suppress(OSError):  # Another training may have come into one of them.
        path.unlink()
        for folder in folders:
            folder.rmdir()
