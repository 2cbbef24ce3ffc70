"""Where commands write, and how `uwt-eval run` prints its results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.console import print_results, terminal
from harness.commands.formats import Format, record_rows, to_csv
from harness.interfaces.errors import UserError
from harness.interfaces.registry import REFERENCES

if TYPE_CHECKING:
    from harness.engine.shards import FinishedShard
    from harness.interfaces.types import ReferenceRow, ResultRecord


def check_apart(data: str | Path | None, out: Path) -> None:
    """Raise `UserError` where what is written would lie among the images that are read."""
    if data is None or not (place := Path(data).expanduser().resolve()).is_dir():
        return
    if out.resolve() == place or out.resolve().is_relative_to(place):
        raise UserError(f"--out {out} lies among the images of {data}: give a folder outside of it")


def print_records(
    records: Sequence[ResultRecord], roots: Sequence[Path], form: Format | None
) -> None:
    """Print a table a task, protocol, data set and seed, and where the runs are; or rows as CSV."""
    if form is Format.CSV:
        print(to_csv(record_rows(records)), end="")
        return
    console = terminal(form=form)
    tables: dict[tuple[object, ...], list[ResultRecord]] = {}
    for record in records:
        digests = (record.protocol_digest, record.dataset_digest, record.seed)
        tables.setdefault((record.task, *digests), []).append(record)
    for of_one in tables.values():
        print_results(console, of_one, references(of_one[0].task), form)
    if form is not Format.MD:
        print_written(roots)


def print_parts(parts: list[FinishedShard], form: Format | None) -> None:
    """Say what shards did."""
    if form is Format.JSON:
        print(json.dumps([part.as_json() for part in parts], indent=2))
        return
    console = terminal()
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


def print_written(roots: Sequence[Path]) -> None:
    """Say where runs are."""
    console = terminal()
    if roots:
        console.print()
    for root in roots:
        console.print(f"written: {root}", markup=False, soft_wrap=True, highlight=False)


def references(task: str) -> list[ReferenceRow]:
    """Published rows for a task, from every reference table installed."""
    published = REFERENCES.ask(lambda rows_of: list(rows_of(task)))
    return [row for rows in published.values() for row in rows]
