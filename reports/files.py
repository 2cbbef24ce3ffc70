"""Files for people and machines: written whole or not at all, and lists read from TOML."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.engine.protocols import read_toml
from harness.interfaces.errors import UserError


def check_ending(option: str, path: Path, endings: Sequence[str], hint: str = "") -> None:
    """Raise `UserError` where a file's name does not end as what is written into it does.

    Args:
        option: That the name was given with, such as '--out'.
        path: The file.
        endings: Those it may have, as '.png'.
        hint: Ends the message, where there is more to say.
    """
    if path.suffix.lower() not in endings:
        raise UserError(f"{option} {path}: end its name in {' or '.join(endings)}{hint}")


def file_name(text: str) -> str:
    """The text as a part of a file's name: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step, folders included; raise `UserError` where that cannot be."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes in one step, folders included; raise `UserError` where that cannot be."""
    from harness.data.store import check_folder

    check_folder(path.parent)
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


def read_list(path: Path, name: str, form: str) -> list[Any]:
    """The one list, not empty, that a TOML file given as `--NAME` holds under its name.

    Args:
        path: The file.
        name: Name of the option and of the list.
        form: How the list is written, for the message.

    Raises:
        UserError: The file cannot be read or holds something else.
    """
    content = read_toml(path, f"--{name} {path}")
    found = content.get(name)
    if content.keys() != {name} or not isinstance(found, list) or not found:
        raise UserError(f"--{name} {path}: it must hold {form}")
    return found
