"""Suite files: the runs of a table or of a nightly job, and the gates they must pass, in TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from pydantic import Field, model_validator

from harness.engine.models import ModelChoice
from harness.engine.protocols import read_toml
from harness.interfaces import RunRequest
from harness.interfaces.errors import UserError
from harness.interfaces.protocols import Count, ModelPrecision, Seed, check
from harness.interfaces.registry import TASKS, expand_tasks
from harness.interfaces.types import Record

SUFFIX = ".toml"
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+]+:")
"""Begins data that are no place on this disk, as `hf:` does."""


class ModelTable(Record):
    """A model as `--model` takes it, or with argument and options apart."""

    name: str
    argument: str | int | None = None
    options: dict[str, Any] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def beside(self, folder: Path) -> str:
        """The model as `--model` takes it; what lies beside the file is taken from there."""
        choice = ModelChoice.parse(self.name)
        argument = choice.argument if self.argument is None else str(self.argument)
        options = choice.options | {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in self.options.items()
        }
        found = {name: _beside(folder, value) for name, value in options.items()}
        text = choice.name if argument is None else f"{choice.name}:{_beside(folder, argument)}"
        return text + (f"?{urlencode(found, quote_via=quote, safe='/:')}" if found else "")


class Runs(Record):
    """What is run: each task under each protocol, with each seed, by each model."""

    tasks: tuple[str, ...] = ()
    models: tuple[ModelTable, ...] = ()
    data: str | None = None
    protocols: tuple[str, ...] = ()
    model_precision: ModelPrecision | None = None
    limit: Count | None = None
    metrics: tuple[str, ...] | None = None
    seeds: tuple[Seed, ...] = (0,)
    device: str = "auto"
    batch_size: Count | Literal["auto"] | None = None
    max_failures: Annotated[int, Field(ge=0)] = 0
    small_sets: bool = False


class Gated(Record):
    """Rules that the suite's results keep against a baseline; without any, as `gate` has it."""

    baseline: str
    rules: tuple[str, ...] = ()


class Suite(Runs):
    """A suite file: what its runs share, and where each differs."""

    out: str | None = None
    plugins: tuple[str, ...] = ()
    runs: tuple[Runs, ...] = ()
    gates: tuple[Gated, ...] = ()

    def each_run(self) -> Iterator[Runs]:
        """The runs, each with what it says itself and what is shared."""
        shared = self._said(self)
        for own in self.runs or (Runs(),):
            yield Runs.model_construct(**(shared | self._said(own)))

    @staticmethod
    def _said(runs: Runs) -> dict[str, Any]:
        named = runs.model_fields_set & Runs.model_fields.keys()
        return {name: getattr(runs, name) for name in named}


def is_place(data: str) -> bool:
    """Whether data are a path, and not a name elsewhere such as `hf:REPOSITORY`."""
    return _ELSEWHERE.match(data) is None


def _beside(folder: Path, text: str) -> str:
    """The text as a path, where such a one lies in the folder."""
    try:
        return str(folder / text) if text and (folder / text).exists() else text
    except (OSError, ValueError):
        return text


def read_suite(path: Path) -> Suite:
    """Read a suite; its relative paths are of its own folder.

    Raises:
        UserError: The file cannot be read, or a key or value that a suite does not have.
    """
    content = read_toml(path, f"suite {path}")
    suite = check(Suite, content)
    if isinstance(suite, list):
        raise UserError(f"suite {path}: {'.'.join(suite[0].place)!r} {suite[0].text}")
    return _placed(suite, path.parent)


def _placed(suite: Suite, folder: Path) -> Suite:
    """The suite with its paths as they are from here."""

    def within(runs: Runs) -> dict[str, Any]:
        moved: dict[str, Any] = {}
        if runs.models:
            moved["models"] = tuple(ModelTable(name=each.beside(folder)) for each in runs.models)
        if runs.protocols:
            moved["protocols"] = tuple(
                ",".join(
                    str(folder / name) if name.endswith(SUFFIX) else name
                    for name in names.split(",")
                )
                for names in runs.protocols
            )
        if runs.data is not None and is_place(runs.data):
            moved["data"] = str(folder / runs.data)
        return moved

    own = tuple(each.model_copy(update=within(each)) for each in suite.runs)
    gates = tuple(
        each.model_copy(update={"baseline": str(folder / each.baseline)}) for each in suite.gates
    )
    moved = within(suite) | {"plugins": tuple(str(folder / each) for each in suite.plugins)}
    if suite.out is not None:
        moved["out"] = str(folder / suite.out)
    return suite.model_copy(update={**moved, "runs": own, "gates": gates})


def overridden(suite: Suite, given: Mapping[str, Any]) -> Suite:
    """The suite with what the command line gives in place of what each of its runs says."""
    of_runs = {name: value for name, value in given.items() if name in Runs.model_fields}
    own = tuple(each.model_copy(update=of_runs) for each in suite.runs)
    return suite.model_copy(update={**given, "runs": own})


def requests_of(suite: Suite, out: Path, *, fresh: bool) -> list[RunRequest]:
    """Every run of the suite, each once, in order.

    Raises:
        UserError: No task, an unknown one, one without a model, or a protocol that none has.
    """
    requests = [
        RunRequest(
            task=task,
            model=model,
            protocol=protocol_for(task, protocol),
            model_precision=runs.model_precision,
            data=runs.data,
            limit=runs.limit,
            metrics=runs.metrics,
            seed=seed,
            device=runs.device,
            batch_size=runs.batch_size,
            max_failures=runs.max_failures,
            small_sets=runs.small_sets,
            fresh=fresh,
            out=out,
        )
        for runs in suite.each_run()
        for task in expand_tasks(runs.tasks)
        for protocol in runs.protocols or (None,)
        for seed in runs.seeds
        for model in _models(runs, task)
    ]
    if not requests:
        tasks = [task for runs in suite.each_run() for task in runs.tasks]
        if not tasks:
            raise UserError("the suite names no tasks: see `uwt-eval list tasks`")
        raise UserError(f"task {tasks[0]!r} has no default model: give one with --model")
    return list(dict.fromkeys(requests))


def _models(runs: Runs, task: str) -> tuple[str, ...]:
    named = tuple(each.name for each in runs.models)
    default: tuple[str, ...] = TASKS.get(task).spec.default_models
    return named or default


def protocol_for(task: str, names: str | None) -> str | None:
    """The first of several comma-separated protocols that the task accepts; one alone as it is."""
    if names is None or "," not in names:
        return names
    refused: UserError | None = None
    for name in names.split(","):
        try:
            TASKS.get(task).protocol(name)
        except UserError as error:
            refused = refused or error
        else:
            return name
    raise refused or UserError(f"--protocol {names}: no name is given")
