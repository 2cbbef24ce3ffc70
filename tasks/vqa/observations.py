"""Replies made elsewhere: our `replies.jsonl`, or the sample log of `lmms-eval --log_samples`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import Status
from tasks.shared.jsonl import read_objects
from tasks.vqa.answers import Row
from tasks.vqa.replies import safe
from tasks.vqa.suites import Suite, sample_score

_REPLY = ("reply", "resps", "filtered_resps")
"""Where a reply stands: in our rows, and in lmms-eval's, which has the second where it differs."""


def read_replies(path: Path, questions: Path | None, suite: Suite, reply_limit: int) -> list[Row]:
    """Read replies with the questions that they answer.

    Args:
        path: A JSON object a line: `reply`, or lmms-eval's `resps` or `filtered_resps`, and
            `document`, the data set's row.
        questions: The data set's rows, where `path` holds none: a parquet or JSON lines file of
            them, matched by place, or a `replies.jsonl`, matched by id.
        suite: Whose questions they are.
        reply_limit: Characters at which a reply is cut.

    Raises:
        UserError: A line that cannot be read, naming file, line and what is wrong.
    """
    asked = _documents(questions, suite) if questions is not None else {}
    rows: dict[str, Row] = {}
    named_by: str | None = None
    for place, (where, entry) in enumerate(read_objects(path)):
        name, field = _identity(entry, place, where), _id_field(entry)
        if named_by not in (None, field):
            # A place among lines of which some are missing is another row's.
            here, before = field or "its place", named_by or "theirs"
            raise UserError(
                f"{where}: named by {here}, lines before it by {before}: name all alike"
            )
        named_by = field
        if name in rows:
            raise UserError(f"{where}: the id {name!r} stands there twice")
        document = asked.get(name, entry.get("document", entry.get("doc")))
        if not isinstance(document, Mapping):
            missing = f"{questions} has no question {name!r}" if asked else "it has no 'document'"
            raise UserError(
                f"{where}: {missing}, the row of {suite.title}'s data set; give --questions FILE "
                "with the rows, as parquet or JSON lines"
            )
        row = _row(name, entry, document, where, reply_limit)
        if row.status is Status.OK:
            _try(suite, row, where)
            score = entry.get("lmms_score", sample_score(suite, entry))
            row = replace(row, lmms_score=score)
        rows[name] = row
    if not rows:
        raise UserError(f"{path}: no replies are in it")
    return list(rows.values())


def _documents(path: Path, suite: Suite) -> dict[str, Mapping[str, Any]]:
    """Rows of the data set by id; without pictures, which scorers do not look at."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            names = [name for name in pq.read_schema(path).names if name not in suite.images]
            rows = pq.read_table(path, columns=names).to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{path}: not a parquet file: {error}") from error
        return {_numbered(place): row for place, row in enumerate(rows)}
    found: dict[str, Mapping[str, Any]] = {}
    for place, (where, entry) in enumerate(read_objects(path)):
        kept = entry.get("document")
        found[_identity(entry, place, where) if kept else _numbered(place)] = kept or entry
    return found


def _id_field(entry: Mapping[str, Any]) -> str:
    """Which field names an entry: ours, lmms-eval's, or '' for none."""
    return next((field for field in ("id", "doc_id") if field in entry), "")


def _identity(entry: Mapping[str, Any], place: int, where: str) -> str:
    """An id as text, whatever type a writer of JSON gave it; a `doc_id` is a row's place."""
    field = _id_field(entry)
    if not field:
        return _numbered(place)
    value = entry[field]
    if isinstance(value, float) and value.is_integer():  # As pandas writes whole numbers.
        value = int(value)
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if field == "id" and text:
        return text
    if text.isascii() and text.isdecimal():
        return _numbered(int(text))
    expected = "a text or a whole number" if field == "id" else "the number of the data set's row"
    raise UserError(f"{where}: {field!r} is {entry[field]!r}, expected {expected}")


def _numbered(place: int) -> str:
    return f"{place:06d}"


def _row(
    name: str, entry: Mapping[str, Any], document: Mapping[str, Any], where: str, limit: int
) -> Row:
    status = str(entry.get("status", Status.OK))
    if status not in list(Status):
        raise UserError(f"{where}: unknown status {status!r}; known: {', '.join(Status)}")
    row = Row(
        id=name,
        question=str(entry.get("question", entry.get("input", ""))),
        document=document,
        images=tuple(map(str, entry.get("images") or ())),
    )
    if status != Status.OK:
        error = str(entry.get("error") or "no reason given")
        return replace(row, status=Status(status), error=error)
    reply = next((entry[key] for key in _REPLY if key in entry), None)
    while isinstance(reply, list) and len(reply) == 1:
        reply = reply[0]
    if not isinstance(reply, str):
        error = f"the reply is {type(reply).__name__} and not a text"
        return replace(row, status=Status.MODEL_ERROR, error=error)
    text, controls = safe(reply)
    return replace(
        row,
        reply=text[:limit],
        cut=len(text) > limit or bool(entry.get("cut")),
        controls=controls or int(entry.get("controls") or 0),
    )


def _try(suite: Suite, row: Row, where: str) -> None:
    assert suite.judge is not None
    try:
        suite.judge(row.document, row.reply)
        suite.category(row.document)
        suite.pair(row.document)
    except SampleFailure:
        return
    except KeyError as error:
        raise UserError(
            f"{where}: its document has no column {error}, which {suite.title}'s questions have"
        ) from error
    except (IndexError, ValueError, TypeError, AttributeError, SyntaxError) as error:
        raise UserError(
            f"{where}: its document is no row of {suite.title}: {type(error).__name__}: {error}"
        ) from error
