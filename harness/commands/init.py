"""`uwt-eval init`: a suite file by asking."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import terminal
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS, TASKS, expand_tasks

_TASK = "imagenet-recon"


def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("suite.toml"),
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Take the defaults without asking.")
    ] = False,
) -> None:
    """Write a suite file by asking for task, data, models and gate; never overwrite one."""
    if file.suffix != ".toml":
        raise UserError(f"{file}: a suite file ends in .toml")
    if file.exists():
        raise _there(file)
    tasks = _ask("Tasks or groups, with commas between", _TASK, _tasks, yes)
    default = TASKS.get(expand_tasks(tasks)[0]).spec.default_models
    data = _ask("Data, a place; empty for the task's own or the sample set", "", _data, yes)
    models = _ask("Models, with commas between", ",".join(default), _models, yes)
    gate = _ask("Baseline of a gate, a file; empty for none", "", _listed, yes)
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(_text(file, tasks, data, models, gate))
    except FileExistsError:
        raise _there(file) from None
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}") from error
    told = f"written: {file}; next: `uwt-eval run {file} --dry-run`"
    terminal().print(told, markup=False, soft_wrap=True, highlight=False)


def _there(file: Path) -> UserError:
    return UserError(f"{file} is there already, and stays as it is: give another name")


def _ask(question: str, default: str, read: Callable[[str], list[str]], yes: bool) -> list[str]:
    """An answer that can be read, asked for until there is one."""
    if yes:
        return read(default)
    console = terminal(stderr=True)
    while True:
        console.print(f"{question}{f' [{default}]' if default else ''}: ", markup=False, end="")
        try:
            answer = input().strip()
        except EOFError:
            raise UserError("nobody answers: --yes takes the defaults without asking") from None
        try:
            return read(answer or default)
        except UserError as error:
            console.print(str(error), markup=False, style="red")


def _listed(answer: str) -> list[str]:
    return [each.strip() for each in answer.split(",") if each.strip()]


def _tasks(answer: str) -> list[str]:
    expand_tasks(tasks := _listed(answer))
    return tasks


def _models(answer: str) -> list[str]:
    from harness.engine.models import ModelChoice

    for model in (models := _listed(answer)):
        MODELS.get(ModelChoice.parse(model).name)
    if not models:
        raise UserError("these tasks have no default model: name one, see `uwt-eval list models`")
    return models


def _data(answer: str) -> list[str]:
    from harness.commands.suite import is_place

    if answer and is_place(answer) and not Path(answer).exists():
        raise UserError(f"{answer}: no such file or folder")
    return [answer] if answer else []


def _text(file: Path, tasks: list[str], data: list[str], models: list[str], gate: list[str]) -> str:
    """The suite; places as they are from the file's folder."""
    from harness.commands.suite import is_place

    def place(given: str) -> str:
        if not is_place(given) or Path(given).is_absolute():
            return given
        return os.path.relpath(given, file.parent)

    def line(name: str, value: object, shown: bool = True) -> str:
        return f"{'' if shown else '# '}{name} = {json.dumps(value, ensure_ascii=False)}"

    lines = [
        f"# uwt-eval run {file.name}",
        line("tasks", tasks),
        line("models", models),
        line("data", place(data[0]) if data else "/data/imagenet", shown=bool(data)),
        line("limit", 1000, shown=False),
        line("protocols", [TASKS.get(expand_tasks(tasks)[0]).spec.protocols[0]], shown=False),
        line("seeds", [0], shown=False),
        line("out", "runs"),
        "",
        "# uwt-eval run FILE --update-baseline makes the baseline; without rules no metric",
        "# may get surely worse.",
        f"{'' if gate else '# '}[[gates]]",
        line("baseline", place(gate[0]) if gate else "baseline.json", shown=bool(gate)),
        line("rules", ["psnr>=-0.05"], shown=False),
    ]
    return "\n".join(lines) + "\n"
