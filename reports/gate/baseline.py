"""The baseline of a gate: a file of records, and beside it what each sample contributed to them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.digests import sealed
from harness.interfaces.errors import UserError, one_line, warn
from harness.interfaces.types import ResultRecord, RunStatus, digest_of
from reports.comparability import protocol_settings
from reports.files import write_bytes, write_text
from reports.records import Loaded, load_records

if TYPE_CHECKING:  # Where no record has its samples, nothing reads any.
    import pyarrow as pa

    from reports.samples import Contributions

_SUFFIX = ".samples.parquet"
_KEPT = b"uwt-eval baseline"
"""Key of the metadata: by run id, digests of the record and of the samples that belong together."""
_RUN, _ID, _CLUSTER, _VALUE, _WEIGHT = "run_id", "id", "cluster", "value:", "weight:"
_PIXELS = "pixels:"
"""In the place of a weight: of a metric that is the PSNR of the mean error."""


def read_baseline(path: Path) -> list[Loaded]:
    """The records of a baseline; raise `UserError` where there are none."""
    if not path.exists():
        raise UserError(
            f"baseline {path} is not there: the same command with --update-baseline makes it of "
            "the results"
        )
    return load_records([path])


def warn_of_unchecked(baselines: Iterable[Loaded]) -> None:
    """Say of a baseline without a checksum, which is believed, that it is not known to be whole."""
    if unchecked := [each.path for each in baselines if not each.checked]:
        warn(
            f"baseline {unchecked[0]} has no checksum, as older versions wrote none: that it was "
            "edited would not be seen; `uwt-eval gate RUN --baseline FILE --update-baseline` "
            "writes one, with the figures of RUN"
        )


def key_of(record: ResultRecord) -> tuple[str, str, str, str, int]:
    """What a run and its baseline have in common where there are several of each."""
    return record.task, record.model, record.protocol, record.dataset, record.seed


def one_too_many(first: Loaded, second: Loaded) -> UserError:
    """The error where two runs have one key."""
    a, b = first.record, second.record
    samples = "" if a.dataset_digest == b.dataset_digest else f", of {a.n} and of {b.n} samples"
    return UserError(
        f"{first.path} and {second.path} have one task, model, protocol, seed and data set "
        f"{one_line(a.dataset)}{samples}: give one of them"
    )


def update_baseline(path: Path, runs: Sequence[Loaded]) -> tuple[int, int]:
    """Put the runs into the baseline file; how many were replaced and how many are new.

    A record with the same task, model, protocol, dataset and seed is replaced, others stay. What
    each sample contributed goes into a file beside it, except of records without their run.

    Raises:
        UserError: A run is incomplete, two runs are for one place, or the file cannot be written.
    """
    if path.is_dir():
        raise UserError(f"--baseline {path} is a folder: --update-baseline writes a file")
    kept: dict[object, Loaded] = {}
    if path.exists():
        kept = {key_of(loaded.record): loaded for loaded in load_records([path])}
    fresh: dict[object, Loaded] = {}
    for loaded in runs:
        record = loaded.record
        if record.status is RunStatus.INCOMPLETE:
            raise UserError(
                f"{record.run_id} is incomplete ({record.n_failed} of {record.n} samples failed): "
                "no baseline is made of it"
            )
        if (twin := fresh.setdefault(key_of(record), loaded)) is not loaded:
            raise one_too_many(twin, loaded)
    members = list((kept | fresh).values())
    # First the samples: should the second file not come to be, its records do not agree with them
    # and are refused, never paired with another run's samples.
    _write_samples(path.with_suffix(_SUFFIX), members)
    content = [sealed(loaded.record.model_dump(mode="json")) for loaded in members]
    whole = content[0] if len(content) == 1 else content
    write_text(path, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    return len(kept.keys() & fresh.keys()), len(fresh.keys() - kept.keys())


def contributions_of(loaded: Loaded, metrics: Iterable[str]) -> Contributions | None:
    """What each sample contributed to a record; None for a record without values a sample.

    They come from the run's directory, or from the file that `update_baseline` left beside it.

    Raises:
        UserError: The file is damaged, or belongs to another record of this run.
    """
    if loaded.samples is not None:
        from reports.samples import contributions, read_samples

        return contributions(read_samples(loaded), metrics, protocol_settings(loaded) or {})
    beside = loaded.path.with_suffix(_SUFFIX)
    return _read_kept(beside, loaded) if beside.is_file() else None


def _lock(record: ResultRecord) -> str:
    """Digest of what a record's samples must agree with."""
    fields = ("run_id", "task_version", "model_digest", "protocol_digest", "dataset_digest")
    values = {name: cell.value for name, cell in record.metrics.items()}
    return digest_of({field: getattr(record, field) for field in fields} | {"metrics": values})


def _digest(found: Contributions) -> str:
    """Digest of all that is kept of one run."""
    numbers = hashlib.sha256()
    for name, values in found.values.items():
        numbers.update(name.encode() + values.tobytes() + found.weights[name].tobytes())
        if name in found.pooled:
            numbers.update(_PIXELS.encode())
    return digest_of([found.ids, found.clusters, numbers.hexdigest()])


def _write_samples(path: Path, members: Iterable[Loaded]) -> None:
    tables, locks = [], {}
    for loaded in members:
        record = loaded.record
        found = contributions_of(loaded, record.metrics)
        if found is not None and found.values:
            locks[record.run_id] = [_lock(record), _digest(found)]
            tables.append(_table(record.run_id, found))
    if not tables:
        path.unlink(missing_ok=True)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.unify_schemas([table.schema for table in tables])
    schema = schema.with_metadata({_KEPT: json.dumps(locks).encode()})
    data = io.BytesIO()
    with pq.ParquetWriter(data, schema, compression="zstd") as writer:
        for table in tables:  # A row group each, so that one run is read without the others.
            whole = pa.concat_tables([schema.empty_table(), table], promote_options="default")
            writer.write_table(whole.replace_schema_metadata(schema.metadata))
    write_bytes(path, data.getvalue())


def _table(run_id: str, found: Contributions) -> pa.Table:
    import pyarrow as pa

    n = len(found.ids)
    run = pa.array([run_id] * n, pa.string())
    clusters = pa.nulls(n, pa.string()) if found.clusters is None else pa.array(found.clusters)
    columns = {_RUN: run, _ID: pa.array(found.ids, pa.string()), _CLUSTER: clusters}
    for name, values in found.values.items():
        columns[_VALUE + name] = pa.array(values, pa.float64())
        kind = _PIXELS if name in found.pooled else _WEIGHT
        columns[kind + name] = pa.array(found.weights[name], pa.float64())
    return pa.table(columns)


def _read_kept(path: Path, loaded: Loaded) -> Contributions | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from reports.samples import Contributions

    record = loaded.record
    repair = "--update-baseline writes both files again, without it figures are compared unpaired"
    try:
        locks = json.loads((pq.read_schema(path).metadata or {})[_KEPT])
        if record.run_id not in locks:
            return None
        lock, digest = locks[record.run_id]
        if lock != _lock(record):
            raise UserError(
                f"{path} holds the samples of another result of {record.run_id} than "
                f"{loaded.path}: {repair}"
            )
        wanted = [(_RUN, "=", record.run_id)]
        table = pq.read_table(path, filters=wanted)
        values, weights, pooled = {}, {}, set()
        for column in table.column_names:
            if column.startswith(_VALUE) and table[column].null_count < len(table):
                name = column.removeprefix(_VALUE)
                values[name] = table[column].to_numpy()
                pixels = table[_PIXELS + name] if _PIXELS + name in table.column_names else None
                if pixels is not None and pixels.null_count < len(table):
                    pooled.add(name)
                    weights[name] = pixels.to_numpy()
                else:
                    weights[name] = table[_WEIGHT + name].to_numpy()
        clusters = table[_CLUSTER].to_pylist()
        found = Contributions(
            table[_ID].to_pylist(),
            values,
            weights,
            None if None in clusters else clusters,
            frozenset(pooled),
        )
        if _digest(found) != digest:
            raise ValueError("its digest is another")
        return found
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged ({error}): {repair}") from error
