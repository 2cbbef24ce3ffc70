"""One self-contained page of one run."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.commands.console import label
from harness.interfaces.errors import UserError, one_line
from harness.interfaces.types import COMPUTED, ResultRecord, Status, dotted
from reports.comparability import protocol_settings
from reports.records import Loaded
from reports.templates import render
from reports.text import heading, interval, number

MOST_FAILURES = 100
"""Failed samples that the page lists; the rest are counted."""


def run_page(loaded: Loaded) -> str:
    """The page: scores, intervals, settings, environment, pictures, failures.

    Raises:
        UserError: A file of the run cannot be read.
    """
    record = loaded.record
    failures, run = _failures(loaded), loaded.run_file()
    return render(
        "run.html.j2",
        title=one_line(f"{record.model} on {record.task}"),
        record=record,
        notice=run.get("notice", ""),
        metrics=[_metric(record, name) for name in record.metrics],
        identity=_identity(record),
        settings=dotted(protocol_settings(loaded) or {}),
        model=dotted(run.get("model", {}).get("config", {})),
        environment=dotted(record.provenance),
        grid=_picture(loaded.root / "grid.png") if loaded.root is not None else "",
        failures=failures[:MOST_FAILURES],
        more_failures=max(0, len(failures) - MOST_FAILURES),
        alone=loaded.root is None,
    )


def _metric(record: ResultRecord, name: str) -> dict[str, Any]:
    cell = record.metrics[name]
    return {
        "name": heading(name, cell.higher_is_better),
        "key": name,
        "value": number(name, cell.value),
        "exact": "" if cell.value is None else repr(cell.value),
        "unit": "" if label(name).percent else cell.unit,
        "interval": interval(name, cell.ci_low, cell.ci_high),
        "method": cell.method,
        "n": cell.n or "—",
        "why": cell.note if cell.status == COMPUTED else cell.status,
    }


def _identity(record: ResultRecord) -> Mapping[str, str]:
    fields = (
        "run_id",
        "task",
        "task_version",
        "model",
        "model_digest",
        "protocol",
        "protocol_digest",
        "dataset",
        "dataset_digest",
        "seed",
        "schema_version",
    )
    return {field: str(getattr(record, field)) for field in fields}


def _failures(loaded: Loaded) -> list[dict[str, str]]:
    if loaded.root is None or not loaded.record.n_failed:
        return []
    from reports.samples import read_samples

    rows = read_samples(loaded)
    return [
        {"id": one_line(name), "status": status, "error": one_line(error)}
        for name, status, error in zip(rows.ids, rows.status, rows.error, strict=True)
        if status != Status.OK
    ]


def _picture(path: Path) -> str:
    """A PNG as text for an `img`; empty where there is none."""
    try:
        return base64.b64encode(path.read_bytes()).decode("ascii") if path.is_file() else ""
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
