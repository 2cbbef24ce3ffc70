"""Errors that a user can act on, and the exit codes they end with."""

from __future__ import annotations

import traceback
from enum import IntEnum
from pathlib import Path

from harness.interfaces.types import Status


class ExitCode(IntEnum):
    """What the process tells its caller; the same for every command."""

    DONE = 0
    REGRESSION = 1
    USAGE = 2
    INCOMPLETE = 3
    UNFORESEEN = 70
    """An error of ours: `EX_SOFTWARE` of sysexits.h, taken for no verdict about results."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    """Whoever read the output has gone, as with `| head`; what a shell says of SIGPIPE."""


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


_PACKAGES = ("harness", "tasks", "reports", "uniwetok")


def unforeseen(error: BaseException) -> str:
    """One line about an error that no code here expects: what, on which file, and where."""
    found = first_line(error)
    root = Path(__file__).parents[2]
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    code = [
        frame
        for frame in frames
        if any(Path(frame.f_code.co_filename).is_relative_to(root / name) for name in _PACKAGES)
    ]
    file = str(error.filename or "") if isinstance(error, OSError) else ""
    for frame in reversed(code):  # The innermost frame that holds a path is at work on that file.
        file = file or next((str(v) for v in frame.f_locals.values() if isinstance(v, Path)), "")
    if file and file not in found:
        found += f", at {file}"
    if code:
        place = Path(code[-1].f_code.co_filename).relative_to(root)
        found += f" ({place}:{code[-1].f_lineno})"
    return f"unforeseen {found}"
