"""What this package adds to the command line; the modules import nothing heavy at start-up."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class DefaultCommand(TyperGroup):
    """A command with sub-commands: `leaderboard PATHS` beside `leaderboard check PATHS`.

    Arguments that do not begin with a sub-command's name go to the first sub-command.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the first sub-command's name in front where none is given."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [next(iter(self.commands)), *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed
