"""What is asked of a run, how it tells its progress, and what a run made elsewhere brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.interfaces.observing import Columns
from harness.interfaces.types import Sample, Status


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One model on one task, as asked for on the command line."""

    task: str
    model: str
    protocol: str | None = None
    data: str | None = None
    limit: int | None = None
    metrics: tuple[str, ...] | None = None
    seed: int = 0
    device: str = "auto"
    batch_size: int | None = None
    max_failures: int = 0
    small_sets: bool = False
    out: Path = Path("runs")


@dataclass(frozen=True, kw_only=True)
class ObservedRows:
    """Samples, and what was observed of them elsewhere."""

    samples: Sequence[Sample]
    statuses: Sequence[Status]
    """One a sample."""
    errors: Sequence[str]
    """One a sample, empty where its status is ok."""
    columns: Mapping[str, Columns]
    """By extractor, rows of all samples; cells of failed ones are ignored."""
    identities: Mapping[str, Mapping[str, Any]]
    """By extractor, where its observations come from: digest of a file, version of a program."""
    label: str
    """Name of the data for people."""
    notice: str = ""
    """What a user must know before reading the numbers."""
    judged_elsewhere: bool = False
    """Whether verdicts or answers are taken as a file has them, whoever made them: the model's name
    says so, wherever it is printed, and such results share no row with others."""
    replies: Sequence[bytes] = ()
    """The model's outputs, one a sample, where they are texts."""


OnProgress = Callable[[int, int], None]
"""Called with (done, total)."""


class Progress(Protocol):
    """Shows how far work has come, where somebody is looking."""

    def listing(self) -> AbstractContextManager[OnProgress]:
        """Progress of reading the data for its digests."""
        ...

    def bar(self, name: str) -> AbstractContextManager[OnProgress]:
        """Progress of one piece of work, told as (done, total)."""
        ...
