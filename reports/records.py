"""Result records from files, run directories and folders of either, checked before use."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.data.digests import is_sealed, unsealed
from harness.interfaces.errors import UserError
from harness.interfaces.registry import METRICS, TASKS
from harness.interfaces.types import COMPUTED, SCHEMA_VERSION, MetricValue, ResultRecord

RECORD = "record.json"
_SUFFIX = ".record.json"
"""Ending of single records that people put beside each other in a folder."""


_LONGEST_WORD = 64


@dataclass(frozen=True, slots=True)
class Loaded:
    """A record and where it was found."""

    record: ResultRecord
    path: Path
    """The file that holds it."""
    checked: bool
    """Whether it carries a checksum; older versions wrote none."""

    @property
    def root(self) -> Path | None:
        """The run directory with everything behind the record, or None for a record alone."""
        folder = self.path.parent
        return folder if self.path.name == RECORD and (folder / "run.json").is_file() else None

    @property
    def samples(self) -> Path | None:
        """The table of what was measured of each sample, where it lies beside the record."""
        path = self.path.parent / "samples.parquet"
        return path if self.path.name == RECORD and path.is_file() else None

    def run_file(self) -> dict[str, Any]:
        """What the run's `run.json` holds; empty for a record alone.

        Raises:
            UserError: The file is damaged.
        """
        if self.root is None:
            return {}
        path = self.root / "run.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise UserError(f"{path} is damaged: it holds no run")
        return content


def merged(one: Loaded, other: Loaded) -> Loaded | None:
    """Two copies of one run as one record with the metrics of both; None where they differ.

    Copies may have been asked for other metrics, or lack what a metric of the other needs; where
    and when they were computed moves nothing. The copy that has all metrics gives the place.
    """
    kept, added = one.record, other.record
    apart = {"metrics", "provenance"}
    if kept.model_dump(exclude=apart) != added.model_dump(exclude=apart):
        return None
    metrics = kept.metrics | {
        name: cell
        for name, cell in added.metrics.items()
        if name not in kept.metrics or _not_computed(kept.metrics[name])
    }
    theirs = {name: cell for name, cell in added.metrics.items() if not _not_computed(cell)}
    if any(cell != metrics[name] for name, cell in theirs.items()):
        return None
    if metrics == kept.metrics:
        return one
    if metrics == added.metrics:
        return other
    return Loaded(kept.model_copy(update={"metrics": metrics}), one.path, one.checked)


def _not_computed(cell: MetricValue) -> bool:
    return cell.status.startswith("not computed")


def load_records(paths: Iterable[Path]) -> list[Loaded]:
    """All records at the given places, each once, in the order of the places.

    A place is a file with one record or a list of them, a run directory, or a folder: below it
    every `record.json` and `*.record.json` is read. A run found twice counts once, with the
    metrics of both.

    Raises:
        UserError: Nothing there, a damaged file, another schema, a value that is no number, or
            two results of one run that differ.
    """
    kept: dict[str, Loaded] = {}
    for path in paths:
        for loaded in (each for file in record_files(path) for each in _read(file)):
            run_id = loaded.record.run_id
            twin = kept.get(run_id, loaded)
            whole = loaded if twin is loaded else merged(twin, loaded)
            if whole is None:
                raise UserError(
                    f"{twin.path} and {loaded.path} hold different results of one run, {run_id!r}: "
                    "keep the one that counts"
                )
            kept[run_id] = whole
    return list(kept.values())


def load_record(path: Path) -> Loaded:
    """The one record at a place; raise `UserError` where there are several."""
    found = load_records([path])
    if len(found) > 1:
        raise UserError(f"{path} holds {len(found)} records: name one run directory or record file")
    return found[0]


def record_files(path: Path) -> list[Path]:
    """The files with records at one place; raise `UserError` where there is none."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_file():
        return [path]
    found = list(_files(path))
    if not found:
        unfinished = (path / "run.json").is_file()
        why = "the run has not finished, run it again" if unfinished else f"no {RECORD} is there"
        raise UserError(f"{path} holds no result: {why}")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Record files below a folder, sorted; nothing else lies below a run directory."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from error
    names = {entry.name for entry in entries}
    if RECORD in names:
        yield folder / RECORD
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if "run.json" not in names:
                yield from _files(Path(entry.path))
        elif entry.name.endswith(_SUFFIX):
            yield Path(entry.path)


def _read(path: Path) -> list[Loaded]:
    if not path.is_file():  # Opening a FIFO waits for ever.
        raise UserError(f"{path} is no file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=_shared)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no JSON text: give a record.json or a run directory") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    items = content if isinstance(content, list) else [content]
    if not items:
        raise UserError(f"{path} holds an empty list: no result to read")
    return [Loaded(_checked(item, path), path, is_sealed(item)) for item in items]


_NONE_ASKED: set[str] = set()


def _shared(item: dict[str, Any]) -> dict[str, Any]:
    """The same object with each of its words kept once: ten thousand records say the same."""
    for key, value in item.items():
        if isinstance(value, str) and len(value) <= _LONGEST_WORD:
            item[key] = sys.intern(value)
    return item


def _checked(item: Any, path: Path) -> ResultRecord:
    if not isinstance(item, dict) or not {"run_id", "metrics"} <= item.keys():
        raise UserError(f"{path} is no result record: it has no 'run_id' and 'metrics'")
    name = f"{path}, run {str(item['run_id'])!r}"
    _check_schema(item.get("schema_version"), name)
    try:
        record = ResultRecord.model_validate(unsealed(item, path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{name}: field {field!r}: {first['msg']}") from error
    _check_numbers(record, name)
    for part in (record, *record.metrics.values()):
        # Which fields the file gave is asked by nobody, and is half of what a record takes.
        object.__setattr__(part, "__pydantic_fields_set__", _NONE_ASKED)
    return record


def _check_schema(version: object, name: str) -> None:
    """Refuse what this version does not read; a minor version only adds fields with defaults."""
    if version is None:
        raise UserError(
            f"{name} names no schema_version: it was not written by uwt-eval or is older than 1.0"
        )
    ours = [int(part) for part in SCHEMA_VERSION.split(".")]
    try:
        theirs = [int(part) for part in str(version).split(".")]
    except ValueError:
        raise UserError(f"{name}: schema_version {str(version)!r} is no version") from None
    if theirs[0] < ours[0]:
        raise UserError(
            f"{name} has schema {version}, this version reads {SCHEMA_VERSION}: "
            "`uwt-eval score RUN` writes it again from the run's files"
        )
    if theirs > ours:
        raise UserError(
            f"{name} has schema {version}, this version reads {SCHEMA_VERSION}: update uwt-eval"
        )


def _check_numbers(record: ResultRecord, name: str) -> None:
    for metric, cell in record.metrics.items():
        numbers = (cell.value, cell.ci_low, cell.ci_high)
        bad = [number for number in numbers if number is not None and not math.isfinite(number)]
        if bad:
            raise UserError(f"{name}: metric {metric!r} is {bad[0]}, which is no result")
        if cell.status == COMPUTED and cell.value is None:
            raise UserError(f"{name}: metric {metric!r} is 'ok' and has no value")
        if cell.status != COMPUTED and cell.value is not None:
            raise UserError(f"{name}: metric {metric!r} has a value and is {cell.status!r}")


def metric_names(records: Sequence[ResultRecord]) -> list[str]:
    """Every metric of the records, in the order in which they first appear."""
    return list(dict.fromkeys(metric for record in records for metric in record.metrics))


def by_weight(task: str, metrics: Sequence[str]) -> list[str]:
    """Metrics in the order of a task's own table; those last that see no picture, such as rates."""
    own: Sequence[str] = ()
    with contextlib.suppress(UserError):  # A record outlives the plug-in of its task.
        own = TASKS.get(task).spec.metrics
    first = [*(name for name in own if name in metrics), *metrics]

    def blind(name: str) -> bool:
        return name in METRICS and not METRICS.get(name).needs

    return sorted(dict.fromkeys(first), key=blind)


def higher_is_better(metric: str, records: Iterable[ResultRecord]) -> bool | None:
    """The direction of a metric, as the first record that tells it says."""
    cells = [record.metrics[metric] for record in records if metric in record.metrics]
    known = (cell.higher_is_better for cell in cells if cell.higher_is_better is not None)
    return next(known, None)


def why_missing(record: ResultRecord, metric: str) -> str:
    """Why a record has no value of a metric; empty where it has one."""
    cell = record.metrics.get(metric)
    if cell is None:
        return "not asked for"
    return cell.status if cell.value is None else ""
