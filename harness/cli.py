"""The `uwt-eval` command line: built-in commands, then those that installed packages offer."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from harness.commands.assets import app as assets_app
from harness.commands.calibrate import calibrate
from harness.commands.doctor import doctor
from harness.commands.list import list_names
from harness.commands.metrics import metrics
from harness.commands.run import run
from harness.commands.score import score
from harness.commands.show import show
from harness.interfaces.errors import ExitCode, UserError
from harness.interfaces.registry import COMMANDS


def build_app() -> typer.Typer:
    """Put the commands together; none of them imports torch before it runs."""
    app = typer.Typer(
        name="uwt-eval",
        help="Benchmark image tokenizers, autoregressive image models and unified multimodal LLMs.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.command()(run)
    app.command()(score)
    app.command()(metrics)
    app.command("list")(list_names)
    app.command()(show)
    app.command()(calibrate)
    app.command()(doctor)
    app.add_typer(assets_app, name="assets")
    for name in COMMANDS.names():
        command = COMMANDS.get(name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main() -> None:
    """Run the command line; errors that a user can mend are one line and exit code 2."""
    try:
        build_app()()
    except UserError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"error: {error}", markup=False, style="bold red"
        )
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted: the same command resumes", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
