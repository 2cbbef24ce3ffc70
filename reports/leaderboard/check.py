"""Whether a record is what its run's files say: for records from elsewhere, before they count."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.data.manifest import dataset_digest
from harness.engine.run_file import RunFile, read_run_file
from harness.interfaces.errors import UserError
from harness.interfaces.types import ResultRecord, digest_of
from reports.records import Loaded, load_records, merged, record_files

_PRECISION = 1e-9
"""Relative; sums in another order move the last bits."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What checking one record file gave."""

    path: Path
    record: ResultRecord | None
    """None where the file is refused unread."""
    problems: list[str]
    checked: str
    """What it was checked against."""


def check(paths: Iterable[Path]) -> list[Finding]:
    """Check every record at the given places; a refused one does not keep others from it.

    With a run directory's files the record's identity must follow from `run.json`, and counts of
    failures and means over samples from `samples.parquet`. Figures of whole sets cannot be told
    from these: `uwt-eval score` computes them again. A record alone is checked in itself only.
    """
    findings: list[Finding] = []
    seen: dict[str, Loaded] = {}
    for file in (file for path in paths for file in record_files(path)):
        try:
            found = load_records([file])
        except UserError as error:
            findings.append(Finding(file, None, [str(error)], "nothing"))
            continue
        for loaded in found:
            problems, checked = _problems(loaded)
            twin = seen.get(loaded.record.run_id, loaded)
            whole = loaded if twin is loaded else merged(twin, loaded)
            seen[loaded.record.run_id] = whole or twin
            if whole is None:
                problems.append(f"{twin.path} holds another result of this run")
            findings.append(Finding(file, loaded.record, problems, checked))
    return findings


def _problems(loaded: Loaded) -> tuple[list[str], str]:
    problems = _inner_problems(loaded.record)
    root = loaded.root
    if root is None:
        return problems, "itself alone"
    try:
        file = read_run_file(root)
    except UserError as error:
        return [*problems, str(error)], "itself alone"
    problems += _identity_problems(loaded.record, file)
    if not (root / "samples.parquet").is_file():
        return problems, "run.json"
    try:
        problems += _sample_problems(loaded, file)
    except UserError as error:
        problems.append(str(error))
    return problems, "run.json and samples.parquet"


def _inner_problems(record: ResultRecord) -> list[str]:
    problems = []
    counts = sum(record.failures.values())
    if counts != record.n_failed:
        problems.append(f"n_failed is {record.n_failed}, its failures sum to {counts}")
    if not 0 <= record.n_failed <= record.n:
        problems.append(f"n_failed is {record.n_failed} of {record.n} samples")
    for name, cell in record.metrics.items():
        if cell.ci_low is not None and cell.ci_high is not None and cell.ci_low > cell.ci_high:
            problems.append(f"{name}: the interval's ends are the wrong way round")
        if cell.n > record.n:
            problems.append(f"{name}: rests on {cell.n} samples of {record.n}")
    return problems


def _identity_problems(record: ResultRecord, file: RunFile) -> list[str]:
    expected = {
        "run_id": file.run_id,
        "task": file.task,
        "task_version": file.task_version,
        "model": file.model.title,
        "model_digest": file.model.digest,
        "protocol": file.protocol.name,
        "protocol_digest": file.protocol.digest,
        "dataset": file.dataset,
        "dataset_digest": _dataset_digest(file),
        "seed": file.seed,
        "n": len(file.samples),
    }
    return [
        f"{field} is {getattr(record, field)}, run.json says {value}"
        for field, value in expected.items()
        if getattr(record, field) != value
    ]


def _dataset_digest(file: RunFile) -> str:
    """Digest of the samples, and of the reference that a generated set is compared with."""
    samples = dataset_digest(file.samples)
    if not file.reference:
        return samples
    if any("code" in identity for identity in file.extractors.values()):
        return file.dataset_digest  # Of such a run the reference's own digest is not kept.
    return digest_of([samples, file.reference])


def _sample_problems(loaded: Loaded, file: RunFile) -> list[str]:
    import numpy as np

    from harness.metrics.stats import psnr_shares
    from reports.samples import is_pooled, read_samples, values_of

    record, rows = loaded.record, read_samples(loaded)
    if rows.ids != [sample.id for sample in file.samples]:
        return ["samples.parquet lists other samples than run.json"]
    failures = Counter(status for status in rows.status if status != "ok")
    problems = []
    if dict(failures) != record.failures:
        problems.append(f"failures are {record.failures}, the samples' are {dict(failures)}")
    columns = rows.columns_of(np.flatnonzero(rows.ok))
    for name, cell in record.metrics.items():
        found = values_of(name, columns, file.protocol.settings)
        if found is None or cell.value is None:
            continue
        values, weights = found
        if is_pooled(name, file.protocol.settings):
            values = psnr_shares(values, weights)
        finite = np.isfinite(values)
        if not finite.any():
            problems.append(f"{name} is {cell.value}, the samples have no value")
            continue
        mean = float(np.average(values[finite], weights=weights[finite]))
        if not math.isclose(mean, cell.value, rel_tol=_PRECISION, abs_tol=_PRECISION):
            problems.append(f"{name} is {cell.value}, the samples' mean is {mean}")
    return problems
