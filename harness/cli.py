"""The `uwt-eval` command line: built-in commands, then those that installed packages offer."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from harness.commands.console import terminal
from harness.interfaces.errors import ExitCode, UserError
from harness.interfaces.registry import COMMANDS
from harness.plugins import PLUGINS


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
    for name in dict.fromkeys([*PLUGINS["commands"], *COMMANDS.names()]):
        owner = COMMANDS.owner(name)
        if owner:
            # A stranger's module is not imported for `--help`, nor for another command.
            untouched = {"ignore_unknown_options": True, "allow_extra_args": True}
            app.command(
                name,
                help=f"Offered by {escape(owner)}.",
                context_settings={**untouched, "help_option_names": []},
            )(_forward)
        else:
            _add(app, name)
    return app


def _add(app: typer.Typer, name: str) -> None:
    command = COMMANDS.get(name)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _forward(context: typer.Context) -> None:
    """Run the command of another distribution with the arguments as they were given."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    name = str(context.info_name)
    _add(app, name)
    # A callback keeps the name a word of the command line where there is but one command.
    app.callback()(lambda: None)
    app(args=[name, *context.args], prog_name="uwt-eval")


def main() -> None:
    """Run the command line; errors that a user can mend are one line and exit code 2."""
    try:
        build_app()()
    except UserError as error:
        terminal(stderr=True, soft_wrap=True, highlight=False).print(
            f"error: {error}", markup=False, style="bold red"
        )
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted: the same command resumes", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
