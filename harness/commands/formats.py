"""Formats of `--format`, and names made harmless in each: Markdown, CSV, JSON and plain text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from html import escape as html_escape
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from harness.interfaces.errors import UserError, one_line

if TYPE_CHECKING:
    from rich.table import Table

    from harness.interfaces.types import ResultRecord


class Format(StrEnum):
    """Formats of tables other than the terminal's own."""

    MD = "md"
    CSV = "csv"
    JSON = "json"
    PLAIN = "plain"


Form = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="md, csv (unrounded), json or plain text, in place of tables for the terminal.",
    ),
]

_MARKDOWN = re.compile(r"([\\`*_\[\]|~$])")
_LINKED = re.compile(r"(?:https?|ftp):(?=//)|www(?=\.)|@(?=\w)", re.IGNORECASE)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def format_of(form: Format | None, as_json: bool) -> Format | None:
    """The format that is asked for, of which `--json` is one; raise `UserError` for two."""
    if as_json and form not in (None, Format.JSON):
        raise UserError(f"--json and --format {form}: give one of them")
    return Format.JSON if as_json else form


def markdown(text: str) -> str:
    """The text as itself inside a cell of a Markdown table: no markup, HTML, link or new cell."""
    escaped = html_escape(_MARKDOWN.sub(r"\\\1", one_line(text)), quote=False)
    # Sites make links of addresses and tell people who are named; an empty comment keeps both off.
    return _LINKED.sub(r"\g<0><!-- -->", escaped)


def csv_text(text: str) -> str:
    """The text for a CSV cell; an apostrophe keeps spreadsheets from computing it."""
    line = one_line(text)
    return f"'{line}" if line.startswith(_FORMULA) else line


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys with a head; texts are no formulas."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: csv_text(cell) if isinstance(cell, str) else cell for key, cell in row.items()}
        )
    return text.getvalue()


def markdown_lines(table: Table) -> Iterator[str]:
    """A drawn table in Markdown, its title in bold above."""
    if table.title:
        yield from (f"**{_cell(table.title)}**", "")
    columns = [[_cell(each) for each in column.cells] for column in table.columns]
    yield f"| {' | '.join(_cell(column.header) for column in table.columns)} |"
    marks = ("--:" if column.justify == "right" else "---" for column in table.columns)
    yield f"|{'|'.join(marks)}|"
    for row in zip(*columns, strict=True):
        yield f"| {' | '.join(row)} |"
    yield ""


def _cell(drawn: object) -> str:
    return markdown(Text.from_markup(str(drawn), emoji=False).plain)


def record_rows(records: Sequence[ResultRecord]) -> list[dict[str, Any]]:
    """A row a metric of each result, unrounded, with all that says what compares with it."""
    return [
        {
            "task": record.task,
            "model": record.model,
            "protocol": record.protocol,
            "dataset": record.dataset,
            "metric": name,
            "value": cell.value,
            "ci_low": cell.ci_low,
            "ci_high": cell.ci_high,
            "n": cell.n,
            "n_failed": cell.n_failed,
            "status": cell.status,
            "higher_is_better": cell.higher_is_better,
            "seed": record.seed,
            "task_version": record.task_version,
            "model_digest": record.model_digest,
            "protocol_digest": record.protocol_digest,
            "dataset_digest": record.dataset_digest,
            "run_id": record.run_id,
            "run_status": record.status.value,
        }
        for record in records
        for name, cell in record.metrics.items()
    ]
