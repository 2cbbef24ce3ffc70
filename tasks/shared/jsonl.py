"""Files with one JSON object a line, or of CSV, read with errors that name the line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.data.store import Store
from harness.interfaces.errors import UserError


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place ('FILE, line 3') and object; empty lines are passed over.

    Raises:
        UserError: The file cannot be read, or a line is no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}") from error
    # Not splitlines(): JSON texts may hold U+2028, which that takes for the end of a line.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: no JSON ({error})") from error
        if not isinstance(found, dict):
            raise UserError(f"{where}: expected a JSON object, found {type(found).__name__}")
        yield where, found


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row's place ('FILE, row 3') and cells of a CSV file with a header.

    Raises:
        UserError: The file cannot be read, or a row has not as many cells as the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                where = f"{path}, row {reader.line_num}"
                if None in row or None in row.values():
                    raise UserError(
                        f"{where}: more or fewer cells than the header's "
                        f"{len(reader.fieldnames or ())}: look for a quotation mark before it"
                    )
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV file in UTF-8: {error}") from error


def write_objects(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, the whole file or none."""

    def write(new: Path) -> None:
        with new.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)

    Store(path.parent).write(path.name, write)
