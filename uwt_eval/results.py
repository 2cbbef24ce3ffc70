"""What an evaluation from Python gives back: records, tables of them, and their pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.store import ROWS_FILE
from harness.interfaces.errors import UserError
from harness.interfaces.types import ResultRecord

if TYPE_CHECKING:
    import pandas as pd

_WIDTH = 100
"""Columns of the table that stands for results as text."""


@dataclass(frozen=True, eq=False)
class Results:
    """Results of one or several models, in order.

    As text, and in a notebook, it is the table of the command line; there the pictures of each run
    stand below it.
    """

    records: tuple[ResultRecord, ...]
    roots: tuple[Path | None, ...]
    """The run directory of each; None of a record alone."""
    notices: tuple[str, ...] = ()
    """What must be known before the numbers are read, such as whose images they are of."""
    failures: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By run, the first samples that failed, and why."""

    def value(self, metric: str, model: str | None = None) -> float | None:
        """One figure; None where it has none, whose record says why.

        Args:
            metric: Its key, such as 'psnr'.
            model: As tables call it, where there are several.

        Raises:
            UserError: No such metric or model, or several results and no model is named.
        """
        record, _ = self._only(model)
        if metric not in record.metrics:
            raise UserError(f"no metric {metric!r}: there are {', '.join(record.metrics)}")
        return record.value(metric)

    def _only(self, model: str | None) -> tuple[ResultRecord, Path | None]:
        """The one result of a model, with its run directory."""
        found = [
            (record, root)
            for record, root in zip(self.records, self.roots, strict=True)
            if model in (None, record.model)
        ]
        if len(found) != 1:
            models = ", ".join(record.model for record in self.records)
            raise UserError(f"{len(found)} results of model {model!r}: there are {models}")
        return found[0]

    def to_frame(self) -> pd.DataFrame:
        """A row a result: task, model, protocol, n, then each metric with its 95% interval.

        Columns of a metric are its key, KEY_low and KEY_high; NaN where there is no value.
        """
        import pandas as pd

        rows = []
        for record in self.records:
            row: dict[str, object] = {
                "task": record.task,
                "model": record.model,
                "protocol": record.protocol,
                "dataset": record.dataset,
                "n": record.n - record.n_failed,
                "n_failed": record.n_failed,
            }
            for key, cell in record.metrics.items():
                row |= {key: cell.value, f"{key}_low": cell.ci_low, f"{key}_high": cell.ci_high}
            rows.append(row)
        return pd.DataFrame(rows)

    def samples(self, model: str | None = None) -> pd.DataFrame:
        """What was observed of every sample of one result: id, status, error, and a column each.

        Raises:
            UserError: Several results and no model is named, or a record without its run.
        """
        import pandas as pd

        record, root = self._only(model)
        path = None if root is None else root / ROWS_FILE
        if path is None or not path.is_file():
            raise UserError(f"the samples of {record.model} are not at hand")
        return pd.read_parquet(path)

    def __repr__(self) -> str:
        return self._printed(_WIDTH)

    def _printed(self, width: int) -> str:
        from rich.console import Console

        from harness.commands.console import print_results

        out = io.StringIO()
        console = Console(file=out, width=width, emoji=False)
        by_task: dict[str, list[ResultRecord]] = {}
        for record in self.records:
            by_task.setdefault(record.task, []).append(record)
        for records in by_task.values():
            print_results(console, records)
        return out.getvalue()

    def _repr_html_(self) -> str:
        from harness.commands.console import label

        parts = [f"<p>{html.escape(notice)}</p>" for notice in self.notices]
        for task in dict.fromkeys(record.task for record in self.records):
            records = [record for record in self.records if record.task == task]
            keys = [
                key
                for key in dict.fromkeys(key for record in records for key in record.metrics)
                if any(record.value(key) is not None for record in records)
            ]
            head = "".join(f"<th>{html.escape(label(key).title)}</th>" for key in keys)
            rows = "".join(
                f"<tr><th>{html.escape(record.model)}</th>"
                + "".join(f"<td>{html.escape(_text(record, key))}</td>" for key in keys)
                + f"<td>{record.n - record.n_failed}</td></tr>"
                for record in records
            )
            title = f"{task} · {records[0].dataset} · protocol {records[0].protocol}"
            parts.append(
                f"<table><caption>{html.escape(title)}</caption>"
                f"<tr><th></th>{head}<th>n</th></tr>{rows}</table>"
            )
        for record, root in zip(self.records, self.roots, strict=True):
            picture = None if root is None else root / "grid.png"
            if picture is not None and picture.is_file():
                data = base64.b64encode(picture.read_bytes()).decode()
                name = html.escape(record.model)
                parts.append(
                    f'<figure><figcaption>{name}</figcaption><img alt="{name}" '
                    f'style="max-width: 100%" src="data:image/png;base64,{data}"></figure>'
                )
        return "\n".join(parts)


def _text(record: ResultRecord, key: str) -> str:
    from harness.commands.console import label

    cell = record.metrics.get(key)
    if cell is None or cell.value is None:
        return "—"
    half = "" if cell.half_interval is None else f" ± {label(key).text(cell.half_interval)}"
    return label(key).text(cell.value) + half
