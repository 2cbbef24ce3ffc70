"""The `uwt-eval` command line: built-in commands, then those that installed packages offer."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from importlib import metadata
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from harness.commands.console import MISUSED, terminal
from harness.commands.interrupts import CtrlC, interruptible, say_interrupted
from harness.interfaces.errors import ExitCode, UserError, one_line, unforeseen
from harness.interfaces.extras import missed
from harness.interfaces.own import remembered
from harness.interfaces.registry import COMMANDS, DISTRIBUTION
from harness.plugins import PLUGINS


def build_app(asked: str | None = None) -> typer.Typer:
    """Put the commands together; none of them imports torch before it runs.

    Args:
        asked: The one that is to run, which is all that is imported; where it is none, the help
            of each stands for it. All of them where None.
    """
    app = typer.Typer(
        name="uwt-eval",
        cls=_Commands,
        help="Benchmark image tokenizers, autoregressive image models and unified multimodal LLMs.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    if asked is not None and asked not in COMMANDS:
        for name, text in remembered("help", _helps).items():
            app.command(name, help=text)(lambda: None)
        return app
    for name in [asked] if asked else dict.fromkeys([*PLUGINS["commands"], *COMMANDS.names()]):
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


class _Commands(TyperGroup):
    """All commands; what one of them calls may raise as if Ctrl-C had been pressed."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; say that it is interrupted where no thread does."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            if not isinstance(error, CtrlC):
                say_interrupted(ctx.invoked_subcommand or "")
            raise


def _helps() -> dict[str, str]:
    """What each command says of itself, in the order of the help."""
    commands: Any = typer.main.get_command(build_app())
    return {name: command.help or "" for name, command in commands.commands.items()}


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"uwt-eval {metadata.version(DISTRIBUTION)}")
        raise typer.Exit


def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an unforeseen error.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never download anything, as UWT_EVAL_OFFLINE=1.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    del debug, offline, version  # `main` has taken the others out: they may stand anywhere.


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


class _Unheard(io.TextIOWrapper):
    """Standard error whose failures end nothing: its disk may be full while the results' is not."""

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            super().flush()


def main() -> None:
    """Run the command line.

    Errors that a user can mend are one line and exit code 2, unforeseen ones one line and 70: 1 is
    a regression's alone. The same command goes on after Ctrl-C.
    """
    if sys.stdout is None:  # Files that a command opens would get its number, and C code's words.
        if sys.stderr is not None:
            _say("standard output is closed: give it a place, as > /dev/null")
        sys.exit(ExitCode.USAGE)
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Unheard(sys.stderr.buffer, encoding=sys.stderr.encoding, line_buffering=True)
    own = sys.stdout is sys.__stdout__ and sys.stderr is not None
    if own and isinstance(sys.stdout, io.TextIOWrapper) and _is_document(sys.argv[1:]):
        # For good: C code keeps what it prints until the process ends.
        sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
        os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files need not be text; in JSON the escape of such a letter is valid.
            stream.reconfigure(errors="backslashreplace")
    debug, arguments = _without("--debug", sys.argv[1:])
    offline, arguments = _without("--offline", arguments)
    if offline:
        os.environ["UWT_EVAL_OFFLINE"] = "1"
    with interruptible(_asked(arguments)) as interrupted:
        try:
            app = build_app(_asked(_completed() or arguments))
            sys.exit(app(arguments, prog_name="uwt-eval", standalone_mode=False))
        except KeyboardInterrupt:
            sys.exit(ExitCode.INTERRUPTED)
        except SystemExit as stop:
            # Typer ends with 1 where the reader of a pipe has gone.
            if isinstance(stop.__context__, OSError) and stop.code == 1:
                sys.exit(ExitCode.BROKEN_PIPE)
            _end_if_unwritten(code=stop.code)
            raise
        except BaseException as error:
            if interrupted.is_set():  # What an interrupted import or worker raises is no error.
                sys.exit(ExitCode.INTERRUPTED)
            _end_if_unwritten(error)
            if isinstance(error, MISUSED):
                _say_misused(error)
                sys.exit(ExitCode.USAGE)
            told = error if isinstance(error, UserError) else missed(error)
            if told is not None:
                _say(str(told))
                sys.exit(told.exit_code)
            if debug:
                traceback.print_exc()
            _say(unforeseen(error) + ("" if debug else "; --debug shows where it comes from"))
            sys.exit(ExitCode.UNFORESEEN)


def _say_misused(error: Any) -> None:
    """Say in a line what the option parser refuses; nothing where it has printed the help."""
    if type(error).__name__ != "NoArgsIsHelpError":
        where = f"; {error.ctx.command_path} --help says what it takes" if error.ctx else ""
        told = error.format_message().replace(": Value error, ", ": ")  # As pydantic begins them.
        told = told.rstrip(".")
        if type(error).__name__ == "MissingParameter" and "Choose from" not in told:
            told += f": {error.param.help}".rstrip(" .:")
        if error.ctx and "unexpected extra argument" in told:
            taken = [p.name for p in error.ctx.command.params if p.param_type_name == "argument"]
            told += f": it takes {' and '.join(taken) or 'none'}{', no more' if taken else ''}"
        _say(told + where)


def _end_if_unwritten(
    error: BaseException | None = None, code: str | int | None = ExitCode.DONE
) -> None:
    """End in a line where standard output takes no more; in silence where its reader has gone.

    Args:
        error: What ended the command; a failed write to standard output names no file.
        code: That the command ends with; one that says something stays.
    """
    try:
        if isinstance(error, OSError) and error.filename is None:
            print(end="\n")  # Unbuffered, what failed is forgotten: only another write tells.
        sys.stdout.flush()
    except ValueError:
        _say("standard output was closed by a plug-in")
        sys.exit(code or ExitCode.USAGE)
    except OSError as full:
        # The text that is left would be tried again, and complained of, at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(full, BrokenPipeError):
            sys.exit(code or ExitCode.BROKEN_PIPE)
        _say(f"standard output takes no more ({full.strerror}): give it a place with room")
        sys.exit(code or ExitCode.USAGE)


def _completed() -> list[str]:
    """The words so far, where a shell asks how a command line may go on; none where it does not."""
    if "_UWT_EVAL_COMPLETE" not in os.environ:
        return []
    words = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")  # Bash's.
    return words.split()[1:]


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # The exit code is left to tell it.
        terminal(stderr=True, soft_wrap=True, highlight=False).print(
            f"error: {one_line(text)}", markup=False, style="bold red"
        )


def _is_document(arguments: list[str]) -> bool:
    """Whether stdout is to be JSON or another document, which nothing else may be printed into."""
    asks = any(word == "--json" or word.startswith("--format") for word in arguments)
    return asks and not COMMANDS.owner(_asked(arguments))


def _asked(arguments: list[str]) -> str:
    """The command's name; '' where none is given."""
    return next((word for word in arguments if not word.startswith("-")), "")


def _without(option: str, arguments: list[str]) -> tuple[bool, list[str]]:
    """Whether an option is given, before or after the command's name, and the other arguments."""
    command = _asked(arguments)
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if COMMANDS.owner(command):  # What follows a stranger's command is the stranger's.
        own = own[: own.index(command)]
    rest = [word for word in own if word != option]
    return len(rest) < len(own), rest + arguments[len(own) :]
