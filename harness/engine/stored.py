"""A finished run's result as it is stored, where computing it again would give the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.data.digests import Damaged, read_record, read_table
from harness.data.store import ROWS_FILE, SAMPLES_FILE, Store
from harness.engine import provenance
from harness.engine.plan import Plan
from harness.engine.run_file import RunFile, read_run_file
from harness.engine.work import Worker, lacks_grid
from harness.engine.world import World
from harness.interfaces import Concluding
from harness.interfaces.errors import UserError
from harness.interfaces.own import own_files
from harness.interfaces.registry import METRICS
from harness.interfaces.types import ResultRecord, Status

if TYPE_CHECKING:
    from harness.engine.score import Failed


def stored_result(plan: Plan, store: Store) -> tuple[ResultRecord, list[Failed]] | None:
    """The record and its failed samples, with the store locked; None where anything has to be done.

    Data, weights, protocol, model and the code of plug-ins are in what is compared of `run.json`;
    what only scoring depends on, our code and the packages, is compared of the record. Nothing is
    asked of torch: its import takes longer than all of this.
    """
    if not _is_of(plan.file, store) or isinstance(plan.data, Concluding):
        return None  # What a task concludes with is known to the task alone.
    if any(METRICS.code(key) for key in plan.file.metrics):
        return None  # The code of another's metric is in no key.
    record = _record(store)
    if record is None or not _same_code(record, store) or Worker(plan, store, World()).missing():
        return None
    whole = plan.keeps_images and not record.n_failed
    products = [SAMPLES_FILE] if whole else []
    if plan.file.reference:
        products.append(plan.file.reference_file)
    if not all((store.root / name).is_file() for name in products):
        return None
    if lacks_grid(store):
        return None
    try:
        rows = read_table(store.root / ROWS_FILE, ["id", "status", "error"]).to_pylist()
    except (Damaged, OSError):
        return None
    return record, [tuple(row.values()) for row in rows if row["status"] != Status.OK]


def _is_of(file: RunFile, store: Store) -> bool:
    """Whether the directory's run is this one; the digest of the data stands for the samples."""
    if not (store.root / "run.json").is_file():
        return False
    try:
        earlier = read_run_file(store.root)
    except UserError:
        return False
    return _facts(earlier) == _facts(file)


def _facts(file: RunFile) -> dict[str, Any]:
    return file.model_dump(mode="json", exclude={"samples", "provenance"})


def _record(store: Store) -> ResultRecord | None:
    path = store.root / "record.json"
    try:
        return ResultRecord.model_validate(read_record(path))
    except (Damaged, OSError, ValidationError, ValueError, RecursionError):
        return None


def _same_code(record: ResultRecord, store: Store) -> bool:
    """Whether the record was made by this code, as far as it can be told, and by these packages."""
    made, code = record.provenance, provenance.code_revision()
    if made.get("packages") != provenance.package_versions() or made.get("code") != code:
        return False
    if code:
        return not code["dirty"]
    written = (store.root / "record.json").stat().st_mtime_ns
    return all(file.changed < written for file in own_files())
