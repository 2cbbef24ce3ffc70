"""The paper's Tables 1 to 7 filled in from trained checkpoints, as the paper prints them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.commands.console import NOTHING, label
from harness.interfaces.registry import TASKS, expand_tasks
from harness.interfaces.types import COMPUTED, ResultRecord
from reports.paper import load_table

_PAPER_IMAGES = 50_000
_ROOMY = 100
"""Width of a terminal from which columns stand further apart."""
Results = Mapping[tuple[str, str], ResultRecord]
"""Records by task and model, the model as it is given to `--model`."""

_PRE = "_pre"
_ARROWS = {"gfid": "↓", "rfid": "↓", "psnr": "↑", "ssim": "↑"}
_NOT_MEASURED = {"gfid": "not computed: it needs an autoregressive model trained on these tokens"}


class AblationTable:
    """One table, whose rows are the checkpoints that training writes to `DIR/PRESET/model`.

    Args:
        number: The table's, 1 to 7.
    """

    def __init__(self, number: int) -> None:
        self.name = f"table{number}"
        self._number = number

    @cached_property
    def _table(self) -> dict[str, Any]:
        return load_table(self._number)

    @cached_property
    def _owners(self) -> dict[str, str]:
        """The task that measures each column."""
        owners: dict[str, str] = {}
        for task in expand_tasks([self.name]):
            for metric in TASKS.get(task).spec.metrics:
                owners.setdefault(metric, task)
        return owners

    def runs(self, checkpoints: Path) -> list[tuple[str, str]]:
        """Task and model of every run that fills cells; rows without a checkpoint have none."""
        found = []
        for row in self._table["rows"]:
            if _path(checkpoints, row).exists():
                tasks = [self._owners[key] for key in row["values"] if key in self._owners]
                found += [(task, _model(checkpoints, row)) for task in dict.fromkeys(tasks)]
        return list(dict.fromkeys(found))

    def missing(self, checkpoints: Path) -> list[Path]:
        """Checkpoints that are not there."""
        paths = [_path(checkpoints, row) for row in self._table["rows"]]
        return [path for path in dict.fromkeys(paths) if not path.exists()]

    def filled(self, checkpoints: Path, results: Results) -> dict[str, Any]:
        """The table as JSON: every cell has the paper's value and ours, or why there is none."""
        rows = []
        for row in self._table["rows"]:
            model = _model(checkpoints, row)
            records = {task: record for (task, name), record in results.items() if name == model}
            rows.append(
                {
                    "method": row["method"],
                    "group": row.get("group", ""),
                    "settings": row.get("settings", {}),
                    "preset": row["preset"],
                    "checkpoint": str(_path(checkpoints, row)),
                    "runs": {task: record.run_id for task, record in records.items()},
                    "cells": self._cells(row, _path(checkpoints, row), records),
                }
            )
        datasets = {(r.dataset, r.n, r.task, r.protocol) for r in results.values()}
        return {
            "table": self.name,
            "title": self._table["title"],
            "notes": self._table.get("notes", []),
            "measured_on": [
                {"dataset": dataset, "n": n, "task": task, "protocol": protocol}
                for dataset, n, task, protocol in sorted(datasets)
                if task in self._owners.values()
            ],
            "rows": rows,
        }

    def _cells(
        self, row: Mapping[str, Any], checkpoint: Path, records: Mapping[str, ResultRecord]
    ) -> dict[str, dict[str, Any]]:
        cells = {}
        for metric in self._table["columns"]:
            printed = row["values"].get(metric)
            cells[metric] = {"paper": printed, **self._measured(metric, checkpoint, records)}
            if printed is None:
                cells[metric]["status"] = "not in the paper"
        for metric in [metric for metric in cells if f"{metric}{_PRE}" in self._owners]:
            pre = f"{metric}{_PRE}"
            cells[pre] = {"paper": None, **self._measured(pre, checkpoint, records)}
        return cells

    def _measured(
        self, metric: str, checkpoint: Path, records: Mapping[str, ResultRecord]
    ) -> dict[str, Any]:
        empty = {"value": None, "ci_low": None, "ci_high": None}
        if not checkpoint.exists():
            return {**empty, "status": f"no checkpoint at {checkpoint}"}
        if metric not in self._owners:
            return {**empty, "status": _NOT_MEASURED.get(metric, "not computed: no task does")}
        record = records.get(self._owners[metric])
        if record is None or metric not in record.metrics:
            return {**empty, "status": "not asked for"}
        cell = record.metrics[metric]
        return {key: getattr(cell, key) for key in (*empty, "status")}

    def show(self, console: Console, filled: Mapping[str, Any]) -> None:
        """Print a filled table: the paper's number, ours below it, then the notes."""
        metrics = list(self._table["columns"])
        rows = filled["rows"]
        switches = list(rows[0]["settings"])
        table = Table(
            title=f"Table {self._number}: {filled['title']}",
            box=box.SIMPLE_HEAD,
            title_justify="left",
            padding=(0, int(console.width >= _ROOMY), 0, 0),
            pad_edge=False,
        )
        for heading in switches:
            table.add_column(heading, no_wrap=True)
        if not switches:
            table.add_column(self._table.get("heading", "Setting"))
        table.add_column("", no_wrap=True)
        for metric in metrics:
            heading = label(metric).title.replace("(", "\n(") + _ARROWS.get(metric, "")
            table.add_column(heading, justify="right", no_wrap=True)
        grouped = all(row["group"] for row in rows)
        group = ""
        for row in rows:
            if grouped and row["group"] != group:
                group = row["group"]
                table.add_row(f"[italic]{escape(group)}[/italic]")
            head = [_switch(row["settings"][name]) for name in switches]
            table.add_row(*(head or [escape(row["method"])]), *_lines(row["cells"], metrics))
        console.print(table)
        for line in _footnotes(filled):
            console.print(line, markup=False, style="dim", soft_wrap=True, highlight=False)


def _path(checkpoints: Path, row: Mapping[str, Any]) -> Path:
    return checkpoints / str(row["preset"]) / "model"


def _model(checkpoints: Path, row: Mapping[str, Any]) -> str:
    return f"uniwetok:{_path(checkpoints, row)}"


def _switch(on: object) -> str:
    return "✓" if on else "✗"


def _lines(cells: Mapping[str, Mapping[str, Any]], metrics: list[str]) -> list[str]:
    """Whose a line is, then each column's lines: the paper's, ours, and ours of the pre head."""
    with_pre = any(cells.get(f"{metric}{_PRE}", {}).get("value") is not None for metric in metrics)
    column = ["[dim]paper[/dim]\nours" + ("\npre" if with_pre else "")]
    for metric in metrics:
        cell, pre = cells[metric], cells.get(f"{metric}{_PRE}")
        printed = "-" if cell["paper"] is None else _printed(metric, cell["paper"])
        lines = [f"[dim]{printed}[/dim]", _text(metric, cell)]
        if with_pre and pre is not None:
            lines.append(_text(metric, pre))
        column.append("\n".join(lines))
    return column


def _printed(metric: str, value: float) -> str:
    """With two decimals, as the paper prints them all."""
    return f"{100 * value:.2f}%" if label(metric).percent else f"{value:.2f}"


def _text(metric: str, cell: Mapping[str, Any]) -> str:
    return NOTHING if cell["value"] is None else f"[bold]{label(metric).text(cell['value'])}[/bold]"


def _footnotes(filled: Mapping[str, Any]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for row in filled["rows"]:
        for metric, cell in row["cells"].items():
            if cell["status"] != COMPUTED and cell["paper"] is not None:
                absent = cell["status"].startswith("no checkpoint")
                name = row["method"] if absent else label(metric).title
                names = reasons.setdefault(cell["status"], [])
                if name not in names:
                    names.append(name)
    lines = [f"{NOTHING} {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    if any(name.endswith(_PRE) for row in filled["rows"] for name in row["cells"]):
        lines.append("pre: ours, of the head that sees the latents before the sign")
    for data in filled["measured_on"]:
        own = TASKS.get(data["task"]).spec.protocols[0]
        alike = data["n"] == _PAPER_IMAGES and data["protocol"] == own
        lines.append(
            f"ours: {data['task']} on {data['n']} images of {data['dataset']}, protocol "
            + data["protocol"]
            + ("" if alike else f"; paper: {_PAPER_IMAGES:,}, protocol {own}: not comparable")
        )
    return lines + [f"note: {note}" for note in filled["notes"]]


TABLES = {f"table{number}": AblationTable(number) for number in range(1, 8)}
