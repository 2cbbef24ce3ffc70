"""What is made of results: published tables that they fill, and gates that judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console

    from harness.interfaces.errors import ExitCode
    from harness.interfaces.types import ResultRecord


class PublishedTable(Protocol):
    """A published table that a folder of checkpoints fills in, offered under `uwt_eval.tables`.

    There too lie the `Path`s of TOML files of figures alone, which `uwt-eval report` shows.
    """

    def runs(self, checkpoints: Path) -> Sequence[tuple[str, str]]:
        """Task and model, as `--model` takes it, of every run that fills cells."""
        ...

    def missing(self, checkpoints: Path) -> Sequence[Path]:
        """Checkpoints of rows that are not there."""
        ...

    def filled(
        self, checkpoints: Path, results: Mapping[tuple[str, str], ResultRecord]
    ) -> dict[str, Any]:
        """The table as JSON from the records of its runs."""
        ...

    def show(self, console: Console, filled: Mapping[str, Any]) -> None:
        """Print a filled table as it was published."""
        ...


class GateVerdict(Protocol):
    """What a gate found."""

    exit_code: ExitCode

    def as_json(self) -> dict[str, Any]:
        """All checks for machines."""
        ...

    def show(self, console: Console) -> None:
        """Print the checks and the verdict."""
        ...


class Gate(Protocol):
    """Judges runs against a baseline, offered under `uwt_eval.gates`."""

    def check(self, baseline: Path, rules: Sequence[str]) -> None:
        """Raise `UserError` before anything is run: no baseline there, a rule not understood."""
        ...

    def judge(self, runs: Sequence[Path], baseline: Path, rules: Sequence[str]) -> GateVerdict:
        """Judge run directories."""
        ...

    def update(self, runs: Sequence[Path], baseline: Path) -> str:
        """Put the runs into the baseline; one line that says what became of it."""
        ...
