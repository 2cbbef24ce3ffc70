"""Files for people and machines, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from harness.interfaces.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step, folders included; raise `UserError` where that cannot be."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes in one step, folders included; raise `UserError` where that cannot be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): give another file") from error
