"""The rival rows of the paper: what is public of each, and how it is measured here."""

from __future__ import annotations

import math
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.interfaces.errors import UserError, did_you_mean
from reports.paper import RIVALS, SAMPLES, load_table
from reports.tables.filled import COMPARISONS, block_of, measures_of

Status = Literal["command", "served", "files", "none"]
STATUSES: Mapping[Status, str] = {
    "command": "by one command",
    "served": "by a served endpoint",
    "files": "from files that its authors' code makes",
    "none": "not at all",
}
"""How a row is measured, from the nearest to the farthest."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A row of the paper that is not of its own models."""

    table: int
    name: str
    """The paper's, with what tells several rows of one method apart."""
    row: Mapping[str, Any]
    """As the paper prints it."""
    tasks: tuple[str, ...]
    """Those that the row has figures of."""
    samples: Mapping[str, int]
    """Images or questions of each task."""
    status: Status
    model: str = ""
    """What `--model` takes; empty where nothing that ships measures it."""
    weights: str = ""
    """A repository of the hub, or where else they are."""
    licence: str = ""
    code: str = ""
    """The authors' repository."""
    note: str = ""

    @property
    def repository(self) -> str:
        """The repository of the weights."""
        return self.weights.partition(",")[0]

    @property
    def command(self) -> str:
        """What measures the row; TASK stands for each of several tasks that take files."""
        if self.status == "none":
            return ""
        if self.model:
            return f"uwt-eval run {' '.join(self.tasks)} --model {shlex.quote(self.model)}"
        task = self.tasks[0] if len(self.tasks) == 1 else "TASK"
        label = shlex.quote(self.name)
        if self.table == 12:
            return f"uwt-eval score {task} --observations replies.jsonl"
        return f"uwt-eval run {task} --images DIR --label {label}"

    @property
    def made(self) -> str:
        """What of the authors' code is measured where no plug-in runs it."""
        return "replies" if self.table == 12 else "images"

    def cost(self, limit: int | None = None) -> str:
        """How much there is to compute, of at most `limit` samples; hours are the machine's."""
        unit = "questions" if self.table == 12 else "images"
        counts = {task: min(self.samples[task], limit or math.inf) for task in self.tasks}
        return ", ".join(f"{count:,} {unit} in {task}" for task, count in counts.items())

    def model_in(self, folder: Path | None) -> str:
        """`--model` with weights that lie in a folder, as OWNER/NAME or NAME, where they do."""
        place = None if folder is None else self.place_in(folder)
        return self.model if place is None else self.model.replace(self.repository, str(place))

    def place_in(self, folder: Path) -> Path | None:
        """Where the weights' repository lies in a folder; None where it does not."""
        if not self.repository:
            return None
        places = (folder / self.repository, folder / Path(self.repository).name)
        return next((place for place in places if place.is_dir()), None)


def load_rivals() -> tuple[Rival, ...]:
    """All rivals in the order of the paper's rows.

    Raises:
        ValueError: a row has not exactly one entry, or an entry is of no row.
    """
    data = tomllib.loads(RIVALS.read_text(encoding="utf-8"))
    return tuple(
        rival
        for number in COMPARISONS
        for rival in _of_table(load_table(number), data[f"table{number}"], data[SAMPLES])
    )


def _of_table(
    table: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], samples: Mapping[str, int]
) -> list[Rival]:
    number, rows = table["table"], [row for row in table["rows"] if not row.get("ours")]
    names = Counter(entry["method"] for entry in entries)
    found = []
    for row in rows:
        mine = [entry for entry in entries if _is_of(entry, row)]
        if len(mine) != 1:
            raise ValueError(f"table {number}, {row['method']}: {len(mine)} entries, not one")
        facts = dict(mine[0])
        method, pick = facts.pop("method"), facts.pop("pick", {})
        which = " ".join(map(str, pick.values())) if names[method] > 1 else ""
        tasks = _tasks(table, row)
        found.append(
            Rival(
                table=number,
                name=f"{method} {which}".strip(),
                row=row,
                tasks=tasks,
                samples={task: samples[task] for task in tasks},
                **facts,
            )
        )
    if len(entries) != len(rows):
        raise ValueError(f"table {number}: {len(entries)} entries of {len(rows)} rows")
    return found


def _is_of(entry: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    wanted = {"method": entry["method"], **entry.get("pick", {})}
    return all(row.get(key) == value for key, value in wanted.items())


def _tasks(table: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, ...]:
    """Tasks of the row's figures; of a benchmark and its variants the benchmark."""
    measures = measures_of(table)
    groups = table["tasks"]
    # Where our own rows stand in several groups, a task belongs to its group's rows alone.
    several = len(set(groups.values())) > 1
    found: dict[str, str] = {}
    for task, group in groups.items():
        block = block_of(task, measures)
        if (several and group != row.get("group")) or not (row.get(block) or row.get("values")):
            continue
        found.setdefault(block, task)
    return tuple(found.values())


def select(rivals: Iterable[Rival], names: Sequence[str]) -> list[Rival]:
    """Rows by name or by method, whatever the case; all where no name is given."""
    rows = list(rivals)
    known = {text for rival in rows for text in (rival.name, rival.row["method"])}
    for name in names:
        if name.casefold() not in {text.casefold() for text in known}:
            raise UserError(f"--rows {name}: no rival of that name, {did_you_mean(name, known)}")
    wanted = {name.casefold() for name in names}
    return [
        rival
        for rival in rows
        if not wanted or wanted & {rival.name.casefold(), rival.row["method"].casefold()}
    ]
