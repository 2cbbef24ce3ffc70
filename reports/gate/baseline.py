"""The baseline file: records that later runs are judged by, updated in one step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.interfaces.errors import UserError
from harness.interfaces.types import ResultRecord, RunStatus
from reports.files import write_text
from reports.gate.verdict import key_of
from reports.records import Loaded, load_records


def update_baseline(path: Path, runs: Sequence[Loaded]) -> tuple[int, int]:
    """Put the runs into the baseline file; how many were replaced and how many are new.

    A record with the same task, model, protocol, dataset and seed is replaced, others stay.

    Raises:
        UserError: A run is incomplete, two runs are for one place, or the file cannot be written.
    """
    if path.is_dir():
        raise UserError(f"--baseline {path} is a folder: --update-baseline writes a file")
    kept: dict[object, ResultRecord] = {}
    if path.exists():
        kept = {key_of(loaded.record): loaded.record for loaded in load_records([path])}
    before = set(kept)
    fresh: dict[object, ResultRecord] = {}
    for loaded in runs:
        record = loaded.record
        if record.status is RunStatus.INCOMPLETE:
            raise UserError(
                f"{record.run_id} is incomplete ({record.n_failed} of {record.n} samples failed): "
                "no baseline is made of it"
            )
        if fresh.setdefault(key_of(record), record) is not record:
            raise UserError(f"two runs are for one place in the baseline: {record.run_id}")
    records = list((kept | fresh).values())
    content = [record.model_dump(mode="json") for record in records]
    whole = content[0] if len(content) == 1 else content
    write_text(path, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    return len(before & set(fresh)), len(set(fresh) - before)
