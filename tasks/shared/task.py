"""What the tasks have in common: a description, and protocols that are files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.engine import protocols
from harness.interfaces.errors import UserError
from harness.interfaces.registry import FAMILIES
from harness.interfaces.types import Protocol, TaskSpec
from tasks import PROTOCOLS


class FiledTask:
    """A task whose named protocols lie in `tasks/protocols`.

    Args:
        spec: The task's description.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def protocol(self, name: str) -> Protocol:
        """A named protocol or a protocol file, checked."""
        return protocols.load(name, PROTOCOLS, self.spec)

    def settings(self, protocol: Protocol) -> Any:
        """A protocol's settings, typed as this family of tasks reads them."""
        return FAMILIES.get(self.spec.kind).of(protocol.settings)

    def refuse_questions(self, questions: Path | None) -> None:
        """Raise `UserError` where questions are given for a file that holds its own."""
        if questions is not None:
            raise UserError(f"task {self.spec.name!r} has no --questions: they stand in the file")
