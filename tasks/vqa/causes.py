"""What an error was at first."""

from __future__ import annotations


def first_cause(error: BaseException) -> str:
    """What went wrong at first, in one line: wrappers that retry hide it."""
    attempt = getattr(error, "last_attempt", None)
    inner = attempt.exception() if attempt is not None else error.__cause__
    if inner is not None:
        return first_cause(inner)
    return next(iter(f"{type(error).__name__}: {error}".splitlines()), "")
