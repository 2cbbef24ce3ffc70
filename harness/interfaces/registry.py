"""Names to plug-ins: entry points, built lazily, and files given with `--plugin`."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from harness.interfaces.errors import UserError

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest known names, or all of them."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(choice) for choice in near)}?"
    return f"known: {', '.join(choices) or 'none'}"


def constants(module: str, *names: str) -> dict[str, str]:
    """Names to "module:CONSTANT" for plug-ins that are constants of a module, named in capitals."""
    return {name: f"{module}:{name.upper().replace('-', '_')}" for name in names}


_DISTRIBUTION = "uwt-eval"


@functools.cache
def _built_in() -> tuple[Mapping[str, Mapping[str, str]], ...]:
    """The lists of our packages: kind to name to "module:attribute".

    They are found through one entry point a package, so that a new line in a list needs no new
    installation.

    Raises:
        UserError: the installation is older than the code, or there is none.
    """
    points = [
        point
        for point in entry_points(group="uwt_eval.builtin")
        if point.dist is not None and point.dist.name == _DISTRIBUTION
    ]
    if not points:
        raise UserError(
            f"{_DISTRIBUTION} is not installed, or its installation is older than its code: run "
            "`pip install -e .` in the checkout, or `pip install uwt-eval`"
        )
    return tuple(point.load() for point in points)


class Registry(Generic[T]):
    """Plug-ins of one kind by name; listing imports none of them.

    Our own packages list theirs in code; other distributions offer theirs as entry points of the
    group `uwt_eval.KIND`.
    """

    def __init__(self, kind: str, noun: str) -> None:
        self.kind = kind
        self.group = f"uwt_eval.{kind}"
        self.noun = noun
        self._registered: dict[str, T] = {}
        self._found: dict[str, EntryPoint] | None = None

    def _entry_points(self) -> dict[str, EntryPoint]:
        """Plug-ins of others by name, then over them our own."""
        if self._found is None:
            self._found = {point.name: point for point in entry_points(group=self.group)} | {
                name: EntryPoint(name, target, self.group)
                for offered in _built_in()
                for name, target in offered.get(self.kind, {}).items()
            }
        return self._found

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator for `--plugin` files: offer the decorated object under `name`."""

        def keep(plugin: T) -> T:
            self._registered[name] = plugin
            return plugin

        return keep

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self._registered, *self._entry_points()})

    def __contains__(self, name: str) -> bool:
        return name in self._registered or name in self._entry_points()

    def get(self, name: str) -> T:
        """Import and return the plug-in; raise `UserError` for an unknown or broken one."""
        if name in self._registered:
            return self._registered[name]
        point = self._entry_points().get(name)
        if point is None:
            raise UserError(f"unknown {self.noun} {name!r}: {did_you_mean(name, self.names())}")
        try:
            plugin = cast("T", point.load())
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"{self.noun} {name!r} ({point.value}) cannot be imported: {error}"
            ) from error
        self._registered[name] = plugin
        return plugin


TASKS: Registry[Any] = Registry("tasks", "task")
MODELS: Registry[Callable[..., Any]] = Registry("models", "model")
METRICS: Registry[Any] = Registry("metrics", "metric")
EXTRACTORS: Registry[Callable[..., Any]] = Registry("extractors", "extractor")
JUDGES: Registry[Callable[..., Any]] = Registry("judges", "judge")
COMMANDS: Registry[Any] = Registry("commands", "command")
PROTOCOLS: Registry[Path] = Registry("protocols", "protocol folder")
FAMILIES: Registry[Any] = Registry("families", "family of tasks")
"""By `TaskSpec.kind`, the `ProtocolSettings` that a family of tasks reads of a protocol."""
REFERENCES: Registry[Callable[[str], Any]] = Registry("references", "reference table")
REFERENCE_SETTINGS: Registry[Callable[[str], Any]] = Registry(
    "reference_settings", "reference settings"
)
TABLES: Registry[Mapping[str, Any]] = Registry("tables", "table collection")
PRESETS: Registry[Mapping[str, Any]] = Registry("presets", "preset collection")


_LOADED: list[Path] = []


def loaded_plugins() -> tuple[Path, ...]:
    """Files that were run for their plug-ins, for processes that must know the same names."""
    return tuple(dict.fromkeys(_LOADED))


def load_plugin(path: Path) -> None:
    """Run a Python file that registers plug-ins; raise `UserError` where it cannot be run."""
    if not path.is_file():
        raise UserError(f"--plugin {path}: no such file")
    name = f"uwt_eval_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"--plugin {path}: {type(error).__name__}: {error}") from error
    _LOADED.append(path)


def expand_tasks(names: Iterable[str]) -> list[str]:
    """Replace groups ('table8') by their tasks, keep order, drop repeats."""
    groups: dict[str, list[str]] = {}
    for task_name in TASKS.names():
        for group in TASKS.get(task_name).spec.groups:
            groups.setdefault(group, []).append(task_name)
    chosen: list[str] = []
    for name in names:
        if name not in TASKS and name not in groups:
            hint = did_you_mean(name, [*TASKS.names(), *groups])
            raise UserError(f"unknown task {name!r}: {hint}")
        chosen += [name] if name in TASKS else groups[name]
    return list(dict.fromkeys(chosen))
