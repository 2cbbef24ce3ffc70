"""Where `uwt-eval` starts: it sees to it that our packages are ours, then runs the command line."""

from __future__ import annotations

import os
import sys

from uwt_eval import names


def main() -> None:
    """Run the command line; exit with 2 where another package stands under one of our names."""
    # Processes that we start do not import from the working directory either.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    # Pydantic reads the entry points of all that is installed, where a stranger's malformed file
    # would end every command; none of our records has a use for its plug-ins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    _leave_if_foreign(names.shadowed())
    try:
        from harness.cli import main as command_line

        command_line()
    except KeyboardInterrupt:  # While the command line itself is imported.
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except (Exception, SystemExit) as error:
        if _failed_to_import(error):
            _leave_if_foreign(names.damaged())
        raise


def _failed_to_import(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, (ImportError, AttributeError)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _leave_if_foreign(found: list[names.Foreign]) -> None:
    for each in found:
        print(f"error: {each.text}; {each.fix}", file=sys.stderr)
    if found:
        sys.exit(2)
