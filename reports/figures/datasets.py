"""Results of one task on several data sets: what was measured on each is a figure of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.comparability import dataset_text
from reports.files import file_name
from reports.records import Loaded

_LONGEST = 40
"""Letters of a data set's name in the name of a file."""


@dataclass(frozen=True, slots=True)
class Part:
    """Results that stand in one figure."""

    records: Sequence[Loaded]
    end: str = ""
    """Suffix for the file's name that names the data set; empty if there is only one."""
    title: str = ""
    """Which data set it is; empty where there is one."""


def by_dataset(
    records: Sequence[Loaded], shown: Callable[[Loaded], bool] = lambda _: True
) -> list[Part]:
    """Results by data set, where a task has results on several; else all of them as they are.

    Args:
        records: Results.
        shown: Which of them the figure shows; others set no data sets apart.
    """
    sets: dict[str, set[str]] = {}
    parts: dict[str, list[Loaded]] = {}
    for loaded in filter(shown, records):
        digest = loaded.record.dataset_digest
        sets.setdefault(loaded.record.task, set()).add(digest)
        parts.setdefault(digest, []).append(loaded)
    if all(len(digests) == 1 for digests in sets.values()):
        return [Part(records)]
    return [
        Part(part, f"{file_name(record.dataset)[:_LONGEST]}-{digest[:8]}", dataset_text(record))
        for digest, part in parts.items()
        for record in (part[0].record,)
    ]
