"""What users are told, in one line and made harmless, and the words and digests of records.

Names, ids and replies pass one function a kind of place: those here for terminals, logs and single
lines, those for Markdown, CSV, LaTeX and HTML in `reports`, which go through `one_line` or `plain`
first.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import re
import sys
import traceback
from collections.abc import Iterable
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

_HOSTILE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # Control characters: ESC and CSI steer terminals.
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # Direction and ends of lines.
    r"\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"  # Nothing to be seen.
    r"\U000e0000-\U000e007f"  # Tags, in which a whole sentence hides.
)
_PLAIN = re.compile(f"[{_HOSTILE}]+")
_CAUSE = re.compile(r"[\w.]+(Error|Exception): \S")
_LINE = re.compile(rf"[\s{_HOSTILE}]+")
_COMMAND = re.compile(r":(?=:[\w-]+[^\n]*?::)|#(?=#(?:\[|vso\[|teamcity\[))")
"""What makes a line a command to GitHub, Azure or TeamCity, wherever a table may break the line."""


_LIKE = 0.55
"""How like it a near name is: 'coco-recon' to 'coco', and not 'diffusers-edit' to 'four-bit'."""
_LISTED = 40
"""Known names up to which all are listed where none is like an unknown one."""

COMPUTED = "ok"
"""`MetricValue.status` of a metric that has a value."""


class Status(StrEnum):
    """What became of one sample in one stage. A failure is never a 0 and never a guess."""

    OK = "ok"
    MODEL_ERROR = "model_error"
    DECODE_ERROR = "decode_error"
    PARSE_ERROR = "parse_error"
    JUDGE_ERROR = "judge_error"
    MISSING = "missing"


TRIED_AGAIN = (Status.MODEL_ERROR, Status.JUDGE_ERROR)
"""Failures that may pass: the next run works on these samples again."""


class RunStatus(StrEnum):
    """Whether a result may be compared: every sample counted, or not."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


def canonical_json(value: Any) -> str:
    """Serialise to the one JSON text that digests are taken of: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex digits) of a JSON value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Stage(StrEnum):
    """The stages of a run, in order; a setting belongs to the first that it can change."""

    GENERATE = "generate"
    OBSERVE = "observe"
    SCORE = "score"


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


class UnknownName(UserError):
    """No such name among many; the message says which are near.

    Args:
        what: Begins the message, as "lmms-eval has no task".
        name: What was asked for.
        known: The names that there are.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        super().__init__(f"{what} {name!r}: {did_you_mean(name, known)}")
        matchers = (difflib.SequenceMatcher(None, each.lower(), name.lower()) for each in known)
        self.likeness = max((each.ratio() for each in matchers), default=0.0)
        """How like the nearest known name it is, from 0 to 1."""


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
    """Kind and first line of an error, for use inside one line; of TorchScript the cause."""
    name, lines = type(error).__name__, str(error).splitlines()
    line = next(iter(lines), "")
    if "TorchScript interpreter" in line:  # Its own traceback follows, and then what happened.
        line = next((each for each in reversed(lines) if _CAUSE.match(each)), line)
    return f"{name}: {line.removeprefix(f'{name}: ')}".rstrip(": ")


PACKAGES = ("harness", "tasks", "reports", "uniwetok", "uwt_eval", "uwt_images")
"""Names of our packages."""


def unforeseen(error: BaseException) -> str:
    """One line about an error that no code here expects: what, on which file, and where."""
    found = first_line(error)
    root = Path(__file__).parents[2]
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    code = [
        frame
        for frame in frames
        if any(Path(frame.f_code.co_filename).is_relative_to(root / name) for name in PACKAGES)
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


def plain(text: str) -> str:
    """The text with its lines, without what steers a reader; bytes that are no text escaped."""
    if text.isprintable():  # Most are, and pages hold hundreds of thousands.
        return text
    readable = text.encode("utf-8", "backslashreplace").decode()
    return _PLAIN.sub(" ", readable)


def one_line(text: str) -> str:
    """The text as one line: white space and control characters become one space."""
    return _LINE.sub(" ", plain(text)).strip()


def counted(count: int, noun: str) -> str:
    """A number of things in words: 1 image, 2 images."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def terminal_text(text: str) -> str:
    """The text for a terminal, whose output may be the log of a build: no command of either."""
    return _COMMAND.sub(lambda found: f"{found[0]} ", plain(text))


def json_text(value: Any) -> str:
    """A value as JSON that people read too: the same value, hostile characters as escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _PLAIN.sub(lambda found: json.dumps(found[0])[1:-1], text)


def did_you_mean(name: str, known: Iterable[str], others: Iterable[str] = ()) -> str:
    """The end of an error about an unknown name: the nearest known names, or the first known.

    Args:
        name: What was asked for.
        known: The names that there are.
        others: Those that may be meant too, and are not listed.
    """
    choices = sorted(set(known))
    spelled = {choice.lower(): choice for choice in (*choices, *others)}
    near = difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=_LIKE)
    if near:
        return f"did you mean {' or '.join(repr(spelled[choice]) for choice in near)}?"
    if len(choices) > _LISTED:
        first = ", ".join(choices[:3])
        return f"nothing is spelled like it; known are {first} and {len(choices) - 3} more"
    return f"known: {', '.join(choices) or 'none'}"


@functools.cache
def warn(text: str) -> None:
    """Say something on stderr in one line, once a process."""
    print(f"warning: {one_line(text)}", file=sys.stderr)
