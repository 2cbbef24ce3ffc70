"""Errors that a user can act on, and the exit codes they end with."""

from __future__ import annotations

from enum import IntEnum

from harness.interfaces.types import Status


class ExitCode(IntEnum):
    """What the process tells its caller; the same for every command."""

    DONE = 0
    REGRESSION = 1
    USAGE = 2
    INCOMPLETE = 3
    INTERRUPTED = 130


class UserError(Exception):
    """Wrong usage or bad input: one clear line with what, where and how to fix it; exit code 2."""

    exit_code = ExitCode.USAGE


class SampleFailure(Exception):
    """One sample failed; the run goes on and counts it.

    Args:
        status: What became of it.
        reason: Why, in one line.
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class DecodeError(SampleFailure):
    """One sample's input cannot be decoded."""

    def __init__(self, reason: str) -> None:
        super().__init__(Status.DECODE_ERROR, reason)


class Unavailable(Exception):
    """A metric has no value here; its cell says why and the run goes on.

    Args:
        reason: Ends the sentence that `kind` begins.
        kind: 'not computed' (something is missing), 'not applicable' or 'withheld'.
    """

    def __init__(self, reason: str, kind: str = "not computed") -> None:
        super().__init__(reason)
        self.kind = kind

    @property
    def status(self) -> str:
        """The cell's status line."""
        return f"{self.kind}: {self}"


def first_line(error: BaseException) -> str:
    """Kind and first line of an error, for use inside one line."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".rstrip(": ")
