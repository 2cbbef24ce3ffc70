"""Named protocols: TOML files whose settings are merged from general to particular, and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.interfaces.errors import UserError, did_you_mean, warn
from harness.interfaces.protocols import MODEL_PRECISION, Problem, ProtocolSettings, check
from harness.interfaces.registry import FAMILIES, PROTOCOLS, TASKS
from harness.interfaces.types import Protocol, TaskSpec

_SECTIONS = ("title", "description", "settings", "kind", "task")


def find(name: str, spec: TaskSpec) -> Protocol:
    """Read a named protocol from the installed folders, or a protocol file by path."""
    folders = PROTOCOLS.ask(Path).values()
    holding = [folder for folder in folders if (folder / f"{name}.toml").is_file()]
    for other in holding[1:]:
        warn(f"protocol {name!r} in {other} ignored: it is read from {holding[0]}")
    return load(name, [*holding, *folders, Path()][0], spec)


def load(name: str, folder: Path, spec: TaskSpec) -> Protocol:
    """Read protocol `name` from `folder`, or a protocol file by path, for one task.

    A file has `title`, `description` and `[settings]`, then `[kind.KIND]` for a family of tasks
    and `[task.NAME]` for one task; later ones override earlier ones key by key. All of it is
    checked, the sections of other families too.

    Raises:
        UserError: Unknown name, unreadable file, no settings for this kind of task, or a section,
            setting or value that its family of tasks does not know.
    """
    path, hint = Path(name), did_you_mean(name, spec.protocols)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UserError(f"protocol file {path}: there is no such file")
    elif not name or path.name != name:
        raise UserError(f"protocol {name!r} is no name, and no file that ends in .toml: {hint}")
    elif not (path := folder / f"{name}.toml").is_file():
        raise UserError(f"unknown protocol {name!r} for task {spec.name!r}: {hint}")
    file = _File(path)
    if spec.kind not in file.kinds:
        raise UserError(f"protocol {name!r} says nothing about {spec.kind!r} tasks: {hint}")
    typed = file.checked(spec.kind, spec.name)
    file.check_others(spec)
    return Protocol(
        name=path.stem,
        title=file.text("title") or path.stem,
        description=file.text("description"),
        settings=file.merged(spec.kind, spec.name),
        stages=typed.stages(),
    )


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a user's TOML file; raise `UserError`, which calls it `what`, where that fails."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{what} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what} is no UTF-8 text: save it as UTF-8 without a BOM") from error
    except (ValueError, RecursionError) as error:  # No TOML; a number too long; too deep.
        raise UserError(f"{what}: {error}") from error


class _File:
    """A protocol file whose sections have known names."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = read_toml(path, f"protocol file {path}")
        self._known("section", self._content, _SECTIONS)
        for key in _SECTIONS[2:]:
            self._table(f"[{key}]", self._content.get(key, {}))
        self.kinds: dict[str, Any] = self._content.get("kind", {})
        self._tasks: dict[str, Any] = self._content.get("task", {})
        self._known("kind", self.kinds, FAMILIES.names())
        self._known("task", self._tasks, TASKS.names())
        for section, table in self._sections():
            self._table(section, table)

    def _sections(self) -> Iterator[tuple[str, Any]]:
        yield "[settings]", self._content.get("settings", {})
        yield from ((f"[kind.{kind}]", table) for kind, table in self.kinds.items())
        yield from ((f"[task.{task}]", table) for task, table in self._tasks.items())

    def _known(self, noun: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
        for name in given:
            if name not in known:
                hint = did_you_mean(name, known)
                raise UserError(f"protocol file {self._path}: unknown {noun} {name!r}: {hint}")

    def _table(self, section: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise UserError(f"protocol file {self._path}: {section} must be a table")

    def text(self, key: str) -> str:
        """The title or the description; empty where there is none."""
        found = self._content.get(key, "")
        if not isinstance(found, str):
            raise UserError(f"protocol file {self._path}: {key!r} must be a text")
        return found

    def merged(self, kind: str, task: str | None) -> dict[str, Any]:
        """The settings of a family, or of one of its tasks."""
        settings = _merge(self._content.get("settings", {}), self.kinds[kind])
        return settings if task is None else _merge(settings, self._tasks.get(task, {}))

    def checked(self, kind: str, task: str | None) -> ProtocolSettings:
        """The same, typed."""
        found = self._check(kind, task)
        if isinstance(found, list):
            raise UserError(self._told(found[0], kind, task))
        return found

    def _check(self, kind: str, task: str | None) -> ProtocolSettings | list[Problem]:
        schema: type[ProtocolSettings] = FAMILIES.get(kind)
        return check(schema, self.merged(kind, task))

    def check_others(self, spec: TaskSpec) -> None:
        """See that the sections of other tasks and families are right as far as they go."""
        others: list[tuple[str, str | None]] = [(kind, None) for kind in self.kinds]
        for name in self._tasks:
            kind = TASKS.get(name).spec.kind
            if kind not in self.kinds:
                raise UserError(
                    f"protocol file {self._path}: [task.{name}] is of the kind {kind!r}, and "
                    f"there is no [kind.{kind}]"
                )
            others.append((kind, name))
        for kind, task in others:
            if task == spec.name:
                continue
            found = self._check(kind, task)
            for problem in found if isinstance(found, list) else ():
                # What is missing here may stand in the sections of this family's tasks.
                if not problem.missing:
                    raise UserError(self._told(problem, kind, task))

    def _told(self, problem: Problem, kind: str, task: str | None) -> str:
        """A problem in words, with the particular section that it comes from."""
        where = [
            section
            for section, table in self._sections()
            if section in {"[settings]", f"[kind.{kind}]", f"[task.{task}]"}
            and _holds(table, problem.place)
        ]
        section = where[-1] if where else f"[kind.{kind}]"
        return f"protocol file {self._path}, {section} for {kind!r} tasks: {problem}"


def _holds(table: Any, place: tuple[str, ...]) -> bool:
    for name in place:
        if not isinstance(table, Mapping) or name not in table:
            return False
        table = table[name]
    return True


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = (
            _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def in_precision(protocol: Protocol, precision: str, spec: TaskSpec) -> Protocol:
    """The protocol with another precision of the model, which its name tells too.

    Raises:
        UserError: No precision that there is, or a task that leaves it to the model.
    """
    schema: type[ProtocolSettings] = FAMILIES.get(spec.kind)
    if "model_precision" not in schema.model_fields:
        raise UserError(f"--model-precision {precision}: task {spec.name!r} leaves it to the model")
    settings = {**protocol.settings, "model_precision": precision}
    if isinstance(found := check(schema, settings), list):
        raise UserError(f"--model-precision {precision}: {found[0].text}")
    if settings == {"model_precision": MODEL_PRECISION, **protocol.settings}:
        return protocol
    return Protocol(
        name=f"{protocol.name}-{precision}",
        title=f"{protocol.title}; the model in {precision}",
        description=protocol.description,
        settings=settings,
        stages=protocol.stages,
    )


class FiledTask:
    """A task whose named protocols are files.

    Args:
        spec: The task's description.
        folder: Where the files lie.
    """

    def __init__(self, spec: TaskSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder

    def protocol(self, name: str) -> Protocol:
        """A named protocol or a protocol file, checked."""
        return load(name, self._folder, self.spec)

    def settings(self, protocol: Protocol) -> Any:
        """A protocol's settings, typed as this family of tasks reads them."""
        return FAMILIES.get(self.spec.kind).of(protocol.settings)

    def refuse_questions(self, questions: Path | None) -> None:
        """Raise `UserError` where questions are given for a file that holds its own."""
        if questions is not None:
            raise UserError(f"task {self.spec.name!r} has no --questions: they stand in the file")
