"""`uwt-eval run TABLE --checkpoints FOLDER`: published tables whose rows are run and filled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.console import terminal
from harness.commands.formats import Format
from harness.commands.outputs import print_written
from harness.commands.suite import ModelTable, Runs
from harness.interfaces.errors import UserError, did_you_mean
from harness.interfaces.registry import TABLES

if TYPE_CHECKING:
    from harness.engine.runner import Finished
    from harness.interfaces import PublishedTable, RunRequest


@dataclass(frozen=True)
class Filling:
    """Tables and the folder whose checkpoints fill them."""

    tables: Mapping[str, PublishedTable]
    checkpoints: Path

    @classmethod
    def of(cls, names: Sequence[str], checkpoints: Path) -> Filling:
        """The tables of these names; raise `UserError` with the nearest for one that is none."""
        known: dict[str, PublishedTable] = {}
        for tables in TABLES.ask(dict).values():
            # A file holds figures alone, which `uwt-eval report` shows.
            known |= {each: table for each, table in tables.items() if not isinstance(table, Path)}
        for name in names:
            if name not in known:
                raise UserError(
                    f"--checkpoints fills published tables, and {name!r} is none: "
                    f"{did_you_mean(name, known)}"
                )
        return cls({name: known[name] for name in names}, checkpoints)

    def runs(self) -> tuple[Runs, ...]:
        """Runs of all tables, each once; raise `UserError` where no checkpoint is there."""
        tables, place = self.tables.values(), self.checkpoints
        missing = [path for table in tables for path in table.missing(place)]
        runs = dict.fromkeys(run for table in tables for run in table.runs(place))
        if not runs:
            raise UserError(
                f"--checkpoints {place}: no checkpoint of {', '.join(self.tables)} is there, "
                f"expected {', '.join(map(str, missing))}"
            )
        messages = terminal(stderr=True)
        for path in dict.fromkeys(missing):
            messages.print(f"note: no checkpoint at {path}", markup=False, style="yellow")
        return tuple(Runs(tasks=(task,), models=(ModelTable(name=each),)) for task, each in runs)

    def show(
        self, requests: Sequence[RunRequest], finished: Sequence[Finished], form: Format | None
    ) -> None:
        """Print the tables with what their runs gave, or all of it as JSON."""
        records = [result.record for result in finished]
        made = [(request.task, request.model) for request in requests]
        results = dict(zip(made, records, strict=True))
        filled = [
            (table, table.filled(self.checkpoints, results)) for table in self.tables.values()
        ]
        if form is Format.JSON:
            told = [record.model_dump(mode="json") for record in records]
            print(json.dumps({"tables": [cells for _, cells in filled], "records": told}, indent=2))
            return
        for table, cells in filled:
            table.show(terminal(), cells)
        print_written([result.root for result in finished])
