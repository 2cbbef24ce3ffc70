"""Records in groups that compare, and their ranks."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.interfaces.errors import UserError, counted, did_you_mean
from harness.interfaces.types import MetricValue, ResultRecord, RunStatus
from reports.comparability import told_apart
from reports.records import Loaded, higher_is_better, metric_names, why_missing
from reports.text import heading

_HEADLINES = (
    *("gfid", "fid", "rfid", "top1", "geneval_overall", "dpg_overall", "gedit_overall"),
    *("geneval2_gm", "genai_overall"),
    *("accuracy", "f1", "total", "psnr"),
)
"""Metrics to rank by where none is asked for, the first that any record has."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record on the board."""

    loaded: Loaded
    rank: int | None
    """None where the record is incomplete or lacks the metric."""
    tied: bool
    """Whether another entry has the same rank."""
    why: str
    """Why there is no rank."""
    apart: str
    """What tells it from entries of the same model name; empty where there are none."""

    @property
    def record(self) -> ResultRecord:
        """The result."""
        return self.loaded.record


@dataclass(frozen=True, slots=True)
class Group:
    """Records that compare: one task and version, one protocol, one set of samples."""

    task: str
    task_version: int
    protocol: str
    protocol_digest: str
    dataset: str
    dataset_digest: str
    n: int
    ranked_by: str | None
    better: dict[str, bool | None]
    """Metrics with a value anywhere in the group, and whether higher is better."""
    entries: list[Entry]

    @property
    def name(self) -> str:
        """The group's heading."""
        return (
            f"{self.task} · protocol {self.protocol} · {self.dataset}, {counted(self.n, 'sample')}"
        )

    @property
    def headings(self) -> list[str]:
        """The metrics' titles with their directions."""
        return [heading(metric, better) for metric, better in self.better.items()]

    @property
    def ranking(self) -> str:
        """Title of the metric that ranks; empty where none does."""
        by = self.ranked_by
        return "" if by is None else heading(by, self.better[by])


def build(records: Sequence[Loaded], by: str | None = None) -> list[Group]:
    """Group and rank records; raise `UserError` where no record has a value of the metric `by`."""
    groups: dict[tuple[str, int, str, str], list[Loaded]] = {}
    for loaded in records:
        record = loaded.record
        key = (record.task, record.task_version, record.protocol_digest, record.dataset_digest)
        groups.setdefault(key, []).append(loaded)
    known = metric_names([loaded.record for loaded in records])
    if by is not None and by not in known:
        raise UserError(f"--by {by}: no record has it, {did_you_mean(by, known)}")
    valued = [
        name for name in known if any(each.record.value(name) is not None for each in records)
    ]
    if by is not None and by not in valued:
        raise UserError(
            f"--by {by}: no record has a value of it; there are: {', '.join(valued) or 'none'}"
        )
    ordered = sorted(
        groups.items(), key=lambda item: (item[0][0], -item[0][1], -item[1][0].record.n, item[0])
    )
    return [_group(members, by) for _, members in ordered]


def _group(members: list[Loaded], by: str | None) -> Group:
    records = [loaded.record for loaded in members]
    first = records[0]
    better = {
        name: higher_is_better(name, records)
        for name in metric_names(records)
        if any(record.value(name) is not None for record in records)
    }
    directed = [name for name, direction in better.items() if direction is not None]
    chosen = by if by in directed else None
    if by is None:
        chosen = next((name for name in (*_HEADLINES, *directed) if name in directed), None)
    return Group(
        task=first.task,
        task_version=first.task_version,
        protocol=first.protocol,
        protocol_digest=first.protocol_digest,
        dataset=first.dataset,
        dataset_digest=first.dataset_digest,
        n=first.n,
        ranked_by=chosen,
        better=better,
        entries=_entries(members, chosen or by, higher=better.get(chosen or by or "")),
    )


def _entries(members: list[Loaded], metric: str | None, *, higher: bool | None) -> list[Entry]:
    spans = {}
    why = {}
    for index, loaded in enumerate(members):
        cell = None if metric is None else loaded.record.metrics.get(metric)
        if loaded.record.status is RunStatus.INCOMPLETE:
            why[index] = f"incomplete: {counted(loaded.record.n_failed, 'sample')} failed"
        elif cell is None or cell.value is None:
            why[index] = why_missing(loaded.record, metric or _first_asked(loaded.record))
        elif higher is None:
            why[index] = f"neither direction of {metric} is better"
        else:
            spans[index] = _span(cell, higher=higher)
    given = ranks(list(spans.values()))
    shared: Counter[int | None] = Counter(given)
    by_index = dict(zip(spans, given, strict=True))
    apart = told_apart(loaded.record for loaded in members)
    entries = [
        Entry(
            loaded,
            by_index.get(index),
            tied=shared[by_index.get(index)] > 1,
            why=why.get(index, ""),
            apart=apart[loaded.record.run_id],
        )
        for index, loaded in enumerate(members)
    ]

    def place(entry: Entry) -> tuple[float, float, str, str]:
        value = entry.record.value(metric) if metric is not None and entry.rank else None
        cost = float("inf") if value is None else -value if higher else value
        return entry.rank or float("inf"), cost, entry.record.model, entry.record.run_id

    return sorted(entries, key=place)


def _first_asked(record: ResultRecord) -> str:
    """The metric that would rank a record which has no value of any."""
    return next((name for name in (*_HEADLINES, *record.metrics) if name in record.metrics), "")


def _span(cell: MetricValue, *, higher: bool) -> tuple[float, float]:
    """Worst and best end of the interval, greater being better; the value where there is none."""
    value = cell.value or 0.0
    low = value if cell.ci_low is None else cell.ci_low
    high = value if cell.ci_high is None else cell.ci_high
    return (low, high) if higher else (-high, -low)


def ranks(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Rank of each interval: 1 + the number of intervals that lie wholly above it.

    Two entries whose intervals overlap never push each other down. Entries share a rank where the
    same number is surely better than each. Intervals that only touch overlap.

    Args:
        spans: Low and high end of each interval, greater being better.
    """
    # An interval lies wholly above another where its low end is above the other's high end.
    lows = sorted(low for low, _ in spans)
    return [1 + len(lows) - bisect_right(lows, high) for _, high in spans]
