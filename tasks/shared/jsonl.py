"""Files with one JSON object a line, or of CSV, read with errors that name the line."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.data.store import Store
from harness.interfaces.errors import UserError, did_you_mean


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place ('FILE, line 3') and object; empty lines are passed over.

    Raises:
        UserError: The file cannot be read, a line is no JSON object, or one has a key twice.
    """
    # Not splitlines(): JSON texts may hold U+2028, which that takes for the end of a line.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        found = _json(where, line)
        if not isinstance(found, dict):
            raise UserError(f"{where}: expected a JSON object, found {type(found).__name__}")
        yield where, found


def read_json(path: Path) -> Any:
    """A file of one JSON value; raises as `read_objects`."""
    return _json(str(path), _text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: no JSON ({error})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand there once; JSON itself would keep the last of two, in silence."""
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{key!r} is there {count} times in one object")
    return dict(pairs)


def read_rows(path: Path, columns: Collection[str] = ()) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row's place ('FILE, row 3': the line that it ends on) and cells of a CSV file.

    Args:
        path: The file; its first row is the header.
        columns: All that the header may hold, where that is known; it must hold the first.

    Raises:
        UserError: The file cannot be read, the header has other columns or one twice, a row has not
            as many cells, or a quotation mark is not closed.
    """
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(path, reader.fieldnames or (), columns)
            line = reader.line_num
            for row in reader:
                where = f"{path}, row {reader.line_num}"
                if None in row or None in row.values():
                    raise UserError(
                        f"{where}: more or fewer cells than the header's "
                        f"{len(reader.fieldnames or ())}: look for a quotation mark before it"
                    )
                yield where, row
                line = reader.line_num
    except csv.Error as error:
        raise UserError(
            f"{path}, line {line + 1}: a quotation mark of this row is not closed as CSV has it "
            f"({error}); one within a text is written twice"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a CSV file in UTF-8: {error}") from error


def _check_header(path: Path, header: Collection[str], columns: Collection[str]) -> None:
    where = f"{path}, line 1"
    for name, count in Counter(header).items():
        if count > 1:
            raise UserError(f"{where}: the column {name!r} is there {count} times")
    if columns and header:
        needed = next(iter(columns))
        if needed not in header and any(mark in name for name in header for mark in ";\t"):
            raise UserError(f"{where}: no column {needed!r}: separate the columns with commas")
        check_keys(where, header, columns, "column")
        if needed not in header:
            raise UserError(f"{where}: no column {needed!r} in the header")


def check_keys(where: str, given: Iterable[str], known: Iterable[str], noun: str = "key") -> None:
    """Raise `UserError` for the first name that is none of the known ones."""
    for name in given:
        if name not in known:
            raise UserError(f"{where}: unknown {noun} {name!r}: {did_you_mean(name, known)}")


def write_objects(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, the whole file or none."""

    def write(new: Path) -> None:
        with new.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)

    Store(path.parent).write(path.name, write)
