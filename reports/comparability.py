"""Whether two results may be compared, and if not, what differs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.interfaces.errors import UserError
from harness.interfaces.types import Protocol, ResultRecord, dotted
from reports.records import Loaded

ABSENT = "(not set)"
_FIELDS = ("task_version", "protocol_digest", "dataset_digest")
"""What must agree within a task. Task version and digests move whenever the numbers could."""


def differences(one: Loaded, other: Loaded) -> list[str]:
    """What keeps two results from being compared, one line each; empty where nothing does."""
    a, b = one.record, other.record
    if a.task != b.task:
        # Protocols and data differ with the task; to list their settings would say nothing more.
        return [f"task: {a.task} and {b.task}"]
    lines = []
    for field in _FIELDS:
        if getattr(a, field) == getattr(b, field):
            continue
        if field == "protocol_digest":
            lines += _protocol_differences(one, other)
        elif field == "dataset_digest":
            lines.append(f"dataset: {dataset_text(a)} and {dataset_text(b)}")
        else:
            lines.append(f"{field}: {getattr(a, field)} and {getattr(b, field)}")
    return lines


def dataset_text(record: ResultRecord) -> str:
    """A result's data set by name, size and digest, which tell it from every other."""
    return f"{record.dataset} (n={record.n}, {record.dataset_digest[:12]})"


def told_apart(records: Iterable[ResultRecord]) -> dict[str, str]:
    """What tells results of one model's name apart, by run id; empty where a name stands once."""
    by_name: dict[str, list[ResultRecord]] = {}
    for record in records:
        by_name.setdefault(record.model, []).append(record)
    found: dict[str, str] = {}
    for own in by_name.values():
        facts = (
            [record.protocol for record in own],
            [f"seed {record.seed}" for record in own],
            [f"digest {record.model_digest[:12]}" for record in own],
        )
        telling = [each for each in facts if len(set(each)) > 1]
        if len(own) > 1 and len(set(zip(*telling, strict=True))) < len(own):
            telling.append([record.run_id for record in own])
        words = zip(*telling, strict=True) if telling else [()]
        found |= {record.run_id: " · ".join(each) for record, each in zip(own, words, strict=True)}
    return found


def _protocol_differences(one: Loaded, other: Loaded) -> list[str]:
    a, b = protocol_settings(one), protocol_settings(other)
    if a is None or b is None:
        names = [
            f"{each.record.protocol} ({each.record.protocol_digest[:12]})" for each in (one, other)
        ]
        return [f"protocol: {names[0]} and {names[1]}"]
    flat_a, flat_b = dotted(a), dotted(b)
    return [
        f"protocol {one.record.protocol}/{other.record.protocol}, setting {key}: "
        f"{flat_a.get(key, ABSENT)} and {flat_b.get(key, ABSENT)}"
        for key in dict.fromkeys([*flat_a, *flat_b])
        if flat_a.get(key, ABSENT) != flat_b.get(key, ABSENT)
    ]


def protocol_settings(loaded: Loaded) -> dict[str, Any] | None:
    """Settings behind a record: the run's own, or the named protocol's if its digest agrees."""
    record = loaded.record
    for protocol in (_own_protocol(loaded), _named_protocol(record.task, record.protocol)):
        if protocol is not None and protocol.digest == record.protocol_digest:
            return protocol.settings
    return None


def _own_protocol(loaded: Loaded) -> Protocol | None:
    """The protocol in the run's own files; None for a record alone, or where they are damaged."""
    try:
        return Protocol.model_validate(loaded.run_file()["protocol"])
    except (UserError, ValueError, KeyError, TypeError):
        return None


def _named_protocol(task: str, name: str) -> Protocol | None:
    from harness.engine import protocols
    from harness.interfaces.registry import TASKS
    from harness.sets import FILES

    try:
        if task == FILES.name:
            return protocols.find(name, FILES)
        if task not in TASKS:
            return None
        protocol: Protocol = TASKS.get(task).protocol(name)
    except UserError:
        return None
    return protocol
