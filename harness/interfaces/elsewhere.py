"""Work that another program does, or did: rows of what it saw, processes that share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from harness.interfaces.observing import Columns
    from harness.interfaces.types import Protocol as EvalProtocol, Sample, Status

T = TypeVar("T")


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
    replies: Sequence[bytes] = ()
    """The model's outputs, one a sample, where they are texts."""
    together: int = 0
    """Samples that a shard takes together, where these are its rows; 0 where they are of all."""
    judged_elsewhere: bool = False
    """Whether verdicts or answers are taken as a file has them, whoever made them: the model's name
    says so, wherever it is printed, and such results share no row with others."""


class Processes(Protocol):
    """The processes of one run; on one machine or several, with one folder for its files."""

    @property
    def rank(self) -> int:
        """This one's number, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    @property
    def shard(self) -> int:
        """Which shard of the run these processes do, from 0."""
        ...

    @property
    def shards(self) -> int:
        """How many shards there are."""
        ...

    @property
    def is_main(self) -> bool:
        """Whether this process merges, scores and talks."""
        ...

    def barrier(self) -> None:
        """Wait for every process; raise `UserError` where one is gone."""
        ...

    def broadcast(self, value: T | None) -> T:
        """Hand the main process's value to all; the others pass None."""
        ...

    def total(self, name: str, done: int) -> int:
        """Tell how much is done here; in the main process, how much all have told so far."""
        ...


@runtime_checkable
class ScoresObservations(Protocol):
    """A task that can be scored from observations made elsewhere, in another environment."""

    def read_observations(
        self, path: Path, protocol: EvalProtocol, questions: Path | None
    ) -> ObservedRows:
        """Read a file of observations; raise `UserError` naming file, line and what is wrong.

        Args:
            path: The file.
            protocol: Its settings decide how observations are read.
            questions: A second file that some benchmarks need; None where not given.
        """
        ...
