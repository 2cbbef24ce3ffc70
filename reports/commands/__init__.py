"""What this package adds to the command line; the modules import nothing heavy at start-up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from typer.core import TyperGroup

from harness.interfaces.errors import UserError


class DefaultCommand(TyperGroup):
    """A command with sub-commands: `leaderboard PATHS` beside `leaderboard check PATHS`.

    Arguments that do not begin with a sub-command's name go to the first sub-command.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the first sub-command's name in front where none is given."""
        if args and args[0] not in [*self.commands, *self.get_help_option_names(ctx)]:
            args = [next(iter(self.commands)), *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


def table_numbers(
    names: Sequence[str], others: Iterable[str] = (), more: Iterable[str] = ()
) -> list[int]:
    """Numbers of the paper's comparisons by `table8` … `table13`, each once.

    Args:
        names: As a user gave them.
        others: What may stand in their place; `all` of these is every comparison.
        more: What else the user may have meant.

    Raises:
        UserError: One is no comparison.
    """
    from harness.interfaces.errors import did_you_mean
    from reports.tables.filled import COMPARISONS

    known: dict[str, tuple[int, ...]] = {f"table{number}": (number,) for number in COMPARISONS}
    others = list(others)
    if "all" in others:
        known["all"] = COMPARISONS
    for name in names:
        if name in {f"table{number}" for number in range(1, 8)}:
            raise UserError(
                f"{name} is an ablation, filled from checkpoints: "
                f"`uwt-eval run {name} --checkpoints DIR`"
            )
        if name not in known:
            raise UserError(
                f"unknown table {name!r}: {did_you_mean(name, {*known, *others, *more})}"
            )
    return list(dict.fromkeys(number for name in names for number in known[name]))
