"""What `uwt-eval run` prints of results: tables a task, published tables, parts of shards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console

from harness.commands.console import print_results
from harness.interfaces.registry import REFERENCES

if TYPE_CHECKING:
    from harness.engine.runner import Finished
    from harness.engine.shards import FinishedShard
    from harness.interfaces import PublishedTable
    from harness.interfaces.types import ReferenceRow, ResultRecord


def print_filled(
    console: Console,
    filled: list[tuple[PublishedTable, dict[str, Any]]],
    finished: list[Finished],
    *,
    as_json: bool,
) -> None:
    """Print published tables, or all of it as JSON."""
    if as_json:
        records = [result.record.model_dump(mode="json") for result in finished]
        print(json.dumps({"tables": [cells for _, cells in filled], "records": records}, indent=2))
        return
    for table, cells in filled:
        table.show(console, cells)
    print_written(console, finished)


def print_tables(console: Console, finished: list[Finished]) -> None:
    """Print a table a task, protocol, data set and seed."""
    tables: dict[tuple[object, ...], list[ResultRecord]] = {}
    for record in (result.record for result in finished):
        digests = (record.protocol_digest, record.dataset_digest, record.seed)
        tables.setdefault((record.task, *digests), []).append(record)
    for records in tables.values():
        print_results(console, records, references(records[0].task))
    print_written(console, finished)


def print_parts(console: Console, parts: list[FinishedShard], *, as_json: bool) -> None:
    """Say what shards did."""
    if as_json:
        print(json.dumps([part.as_json() for part in parts], indent=2))
        return
    for part in parts:
        console.print(
            f"{part.title} finished: {part.n} of {part.n_run} samples in {part.root}",
            markup=False,
            soft_wrap=True,
            highlight=False,
        )
    console.print(
        "copy the run directories of all shards together and `uwt-eval merge` them",
        markup=False,
        soft_wrap=True,
    )


def print_written(console: Console, finished: list[Finished]) -> None:
    """Name the run directories."""
    console.print()
    for result in finished:
        console.print(f"written: {result.root}", markup=False, soft_wrap=True, highlight=False)


def references(task: str) -> list[ReferenceRow]:
    """Published rows for a task, from every reference table installed."""
    published = REFERENCES.ask(lambda rows_of: list(rows_of(task)))
    return [row for rows in published.values() for row in rows]
