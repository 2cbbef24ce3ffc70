"""`uwt-eval reproduce`: the paper's rivals, and the studies of `uniwetok` at a small size."""

from __future__ import annotations

import typer

from reports.commands import DefaultCommand
from reports.commands.rivals import table
from uniwetok.commands.reproduce import app as studies

app = typer.Typer(
    cls=DefaultCommand,
    no_args_is_help=True,
    help="Try again what the paper reports: `reproduce table8 --rows NAME`; `mini-ablations`.",
)
app.command()(table)
app.registered_commands += studies.registered_commands
