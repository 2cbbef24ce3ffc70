"""Names to plug-ins: entry points, built lazily, and files given with `--plugin`."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar, cast

from harness.interfaces.code import code_digest, module_digest
from harness.interfaces.errors import UserError, did_you_mean, digest_of, first_line, warn

T = TypeVar("T")
A = TypeVar("A")


_SWITCHING = threading.Lock()
_aside: list[TextIO] = []
"""What stdout was before, once for each import under way."""


@contextlib.contextmanager
def printing_aside() -> Iterator[None]:
    """What is printed within goes to stderr: it is no part of `--json`.

    Threads may be within at once, and the last one puts stdout back: if each put back what it
    found, the later one would leave stderr there for good.
    """
    with _SWITCHING:
        _aside.append(_aside[0] if _aside else sys.stdout)
        sys.stdout = sys.stderr
    try:
        yield
    finally:
        with _SWITCHING:
            stdout = _aside.pop()
            if not _aside:
                sys.stdout = stdout


@contextlib.contextmanager
def others_code() -> Iterator[None]:
    """Within, code works that may not be ours: it neither ends Python nor moves it elsewhere.

    What it prints goes to stderr.

    Raises:
        RuntimeError: it asked Python to end.
    """
    place = _here()
    try:
        with printing_aside():
            yield
    except SystemExit as stop:
        raise RuntimeError(f"it asked Python to end (SystemExit: {stop.code})") from stop
    finally:
        if place is not None and _here() != place:
            os.chdir(place)


def _here() -> Path | None:
    """The working directory; None where it has been removed."""
    try:
        return Path.cwd()
    except OSError:
        return None


def constants(module: str, *names: str) -> dict[str, str]:
    """Names to "module:CONSTANT" for plug-ins that are constants of a module, named in capitals."""
    return {name: f"{module}:{name.upper().replace('-', '_')}" for name in names}


DISTRIBUTION = "uwt-eval"


@functools.cache
def _offers() -> dict[str, tuple[EntryPoint, ...]]:
    """Entry points of the groups `uwt_eval.…` by distribution; the first of a name on the path.

    Files of entry points without such a group are not parsed; those that cannot be are warned of.
    """
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for distribution in distributions():
        try:
            if "[uwt_eval." in (distribution.read_text("entry_points.txt") or ""):
                name = re.sub(r"[-_.]+", "-", distribution.name).lower()
                found.setdefault(name, tuple(distribution.entry_points))
        except Exception as error:  # Whatever a stranger's broken metadata raise.
            # Its name may be what is broken; the folder of its metadata, if it has one, is not.
            place = getattr(distribution, "_path", distribution.locate_file(""))
            warn(f"entry points of {place} ignored: {first_line(error)}")
    return found


@functools.cache
def _built_in() -> tuple[Mapping[str, Mapping[str, str]], ...]:
    """The lists of our packages: kind to name to "module:attribute".

    They are found through one entry point a package, so that a new line in a list needs no new
    installation.

    Raises:
        UserError: the installation is older than the code, or there is none.
    """
    points = [
        point for point in _offers().get(DISTRIBUTION, ()) if point.group == "uwt_eval.builtin"
    ]
    if not points:
        raise UserError(
            f"{DISTRIBUTION} is not installed, or its installation is older than its code: run "
            "`pip install -e .` in the checkout, or `pip install uwt-eval`"
        )
    return tuple(point.load() for point in points)


def _owner(point: EntryPoint) -> str:
    """The other distribution that offers it, with its version; '' where it is ours."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else ""


def _origin(point: EntryPoint) -> str:
    return f"{_owner(point) or DISTRIBUTION} ({point.value})"


class Registry(Generic[T]):
    """Plug-ins of one kind by name; listing imports none of them.

    Our own packages list theirs in code; other distributions offer theirs as entry points of the
    group `uwt_eval.KIND`, and can neither break nor replace one of ours. What is offered under a
    name that ends in a colon makes plug-ins without number, 'PREFIX:NAME', of their NAME.
    """

    def __init__(self, kind: str, noun: str, what: Any = object, has: str = "") -> None:
        self.kind = kind
        self.group = f"uwt_eval.{kind}"
        self.noun = noun
        self._what = what
        self._has = has
        """An attribute that every one has and hardly anything else; none if empty."""
        self.shadowed: dict[str, str] = {}
        """Entry points of others whose name is taken, and by whom; filled by `names`."""
        self._registered: dict[str, T] = {}
        self._files: dict[str, Path] = {}
        """The `--plugin` files that registered them."""
        self._found: dict[str, EntryPoint] | None = None

    def _entry_points(self) -> dict[str, EntryPoint]:
        """Our own plug-ins by name, then those of others under names that are free."""
        if self._found is None:
            self._found = {
                name: EntryPoint(name, target, self.group)
                for offered in _built_in()
                for name, target in offered.get(self.kind, {}).items()
            }
            for distribution, points in _offers().items():
                for point in points:
                    if point.group == self.group and distribution != DISTRIBUTION:
                        taken = self._found.setdefault(point.name, point)
                        if taken is not point:
                            what = f"{self.group} {point.name!r} of {_origin(point)}"
                            self.shadowed[what] = f"the name belongs to {_origin(taken)}"
                            warn(f"{what} ignored: {self.shadowed[what]}")
        return self._found

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator for `--plugin` files: offer the decorated object under `name`.

        Raises:
            UserError: the name could not be written on the command line, or is taken.
        """
        if not isinstance(name, str) or not name or set(":?,") & set(name):
            raise UserError(f"{self.noun} {name!r}: a name is a text without ':', '?' and ','")

        def keep(plugin: T) -> T:
            if name in self._entry_points():
                mine = f"{self.noun} {name!r} ({getattr(plugin, '__qualname__', repr(plugin))})"
                taken = _origin(self._entry_points()[name])
                raise UserError(f"{mine}: the name belongs to {taken}, take another")
            self._registered[name] = plugin
            if _LOADING:
                self._files[name] = _LOADING[-1]
            return plugin

        return keep

    @contextlib.contextmanager
    def offering(self, name: str, plugin: T) -> Iterator[None]:
        """Offer an object under a name within; raises as `register`."""
        before = self._registered.get(name)
        self.register(name)(plugin)
        try:
            yield
        finally:
            del self._registered[name]
            if before is not None:
                self._registered[name] = before

    @property
    def has_registered(self) -> bool:
        """Whether `register` was called."""
        return bool(self._registered)

    def names(self) -> list[str]:
        """All names but those with a prefix, sorted."""
        known = {*self._registered, *self._entry_points()}
        return sorted(name for name in known if not name.endswith(":"))

    def __contains__(self, name: str) -> bool:
        if name in self._registered or name in self._entry_points():
            return True
        try:
            return self.prefixed(name) is not None
        except UserError:
            return False

    def prefixed(self, name: str) -> T | None:
        """The plug-in 'PREFIX:NAME', None without such a prefix; raise `UserError` as its maker."""
        prefix, colon, rest = name.partition(":")
        point = self._entry_points().get(prefix + colon) if colon else None
        return None if point is None else cast("T", point.load()(rest))

    def spelled(self, name: str) -> str:
        """The known name that differs from `name` in case alone, where one does; else `name`."""
        if name in self:
            return name
        return next((known for known in self.names() if known.lower() == name.lower()), name)

    def owner(self, name: str) -> str:
        """The other distribution that offers `name`, with its version; '' where it is ours."""
        point = None if name in self._registered else self._entry_points().get(name)
        return _owner(point) if point else ""

    def built_in(self, name: str) -> bool:
        """Whether a known name is one of our own packages'."""
        return name not in self._registered and not self.owner(name)

    def code(self, name: str) -> str:
        """SHA-256 of the code behind a name, and of its distribution's version; '' of ours.

        The plug-in has been imported: `get` was asked for it.
        """
        if name in self._registered:
            file = self._files.get(name)
            return code_digest(file) if file else ""
        point = self._entry_points().get(name)
        owner = _owner(point) if point else ""
        return digest_of([owner, module_digest(point.module)]) if point and owner else ""

    def get(self, name: str) -> T:
        """Import and return the plug-in; raise `UserError` for an unknown or broken one."""
        if name in self._registered:
            plugin: Any = self._registered[name]
            if wrong := self._wrong(plugin):
                raise UserError(f"{self.noun} {name!r} of a --plugin file: {wrong}")
            return cast("T", plugin)
        if (made := self.prefixed(name)) is not None:
            return made
        point = self._entry_points().get(name)
        if point is None:
            hint = did_you_mean(name, self.names())
            if self.noun == "model" and not hint.startswith("did you mean"):
                hint += "; your own come by --plugin FILE"
            raise UserError(f"unknown {self.noun} {name!r}: {hint}")
        try:
            with printing_aside():
                plugin = point.load()
            if wrong := self._wrong(plugin):
                raise TypeError(wrong)
            return cast("T", plugin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # A broken extension in Rust ends with one of its own.
            if not _owner(point) and not isinstance(error, (ImportError, AttributeError)):
                raise
            raise UserError(
                f"{self.noun} {name!r} of {_origin(point)} cannot be imported: {first_line(error)}"
            ) from error

    def _wrong(self, plugin: object) -> str:
        """Why this is no plug-in of the kind; '' where it may be one."""
        if not isinstance(plugin, self._what):
            return f"{plugin!r} is no {self._what.__name__}"
        if self._has and not hasattr(plugin, self._has):
            return f"{plugin!r} is no {self.noun}: it has no {self._has!r}"
        return ""

    def ask(self, question: Callable[[T], A]) -> dict[str, A]:
        """The answer of every plug-in by name, of our own first.

        One of another distribution that cannot be imported or has no answer is warned of and left
        out; one of ours raises, and one of a `--plugin` file is the user's to mend.

        Raises:
            UserError: One of a `--plugin` file has no answer, or one of ours cannot be imported.
        """
        answers: dict[str, A] = {}
        for owner, name in sorted((self.owner(name), name) for name in self.names()):
            try:
                answers[name] = question(self.get(name))
            except (Exception, SystemExit) as error:
                if name in self._registered and not isinstance(error, UserError):
                    told = f"{self.noun} {name!r} of a --plugin file: {first_line(error)}"
                    raise UserError(told) from error
                if not owner:
                    raise
                cause = first_line(error.__cause__ or error)
                warn(f"{self.group} {name!r} of {owner} ignored: {cause}")
        return answers


TASKS: Registry[Any] = Registry("tasks", "task", has="spec")
MODELS: Registry[Callable[..., Any]] = Registry("models", "model", Callable)
METRICS: Registry[Any] = Registry("metrics", "metric", has="needs")
EXTRACTORS: Registry[Callable[..., Any]] = Registry("extractors", "extractor", Callable)
JUDGES: Registry[Callable[..., Any]] = Registry("judges", "judge", Callable)
LISTINGS: Registry[Callable[[], dict[str, str]]] = Registry("listings", "listing", Callable)
"""What `list` shows besides: names and a line each."""
CHECKS: Registry[Callable[[], Iterable[Any]]] = Registry("checks", "check", Callable)
COMMANDS: Registry[Any] = Registry("commands", "command", Callable)
PROTOCOLS: Registry[Path] = Registry("protocols", "protocol folder", Path)
FAMILIES: Registry[Any] = Registry("families", "family of tasks")
"""By `TaskSpec.kind`, the `ProtocolSettings` that a family of tasks reads of a protocol."""
REFERENCES: Registry[Callable[[str], Any]] = Registry("references", "reference table", Callable)
REFERENCE_SETTINGS: Registry[Callable[[str], Any]] = Registry(
    "reference_settings", "reference settings", Callable
)
TABLES: Registry[Mapping[str, Any]] = Registry("tables", "table collection", Mapping)
PRESETS: Registry[Mapping[str, Any]] = Registry("presets", "preset collection", Mapping)
GATES: Registry[Any] = Registry("gates", "gate", has="judge")
REGISTRIES: tuple[Registry[Any], ...] = (
    *(TASKS, MODELS, METRICS, EXTRACTORS, JUDGES, LISTINGS, CHECKS, COMMANDS, PROTOCOLS, FAMILIES),
    *(REFERENCES, REFERENCE_SETTINGS, TABLES, PRESETS, GATES),
)


def others() -> bool:
    """Whether anything is offered that is not ours: by a distribution or by a `--plugin` file."""
    return set(_offers()) != {DISTRIBUTION} or any(each.has_registered for each in REGISTRIES)


_LOADED: list[Path] = []
_LOADING: list[Path] = []
"""The file that is being run, last."""


def loaded_plugins() -> tuple[Path, ...]:
    """Files that were run for their plug-ins, for processes that must know the same names."""
    return tuple(dict.fromkeys(_LOADED))


def load_plugins(paths: Iterable[Path] | None) -> None:
    """Run the files of a command's `--plugin`; raise `UserError` where one cannot be run."""
    for path in paths or ():
        load_plugin(path)


def load_plugin(path: Path) -> None:
    """Run a Python file that registers plug-ins; raise `UserError` where it cannot be run.

    It may import the modules beside it. Their folder is looked at last, so that none of them takes
    the place of an installed module.
    """
    if not path.is_file():
        raise UserError(f"--plugin {path}: no such file")
    name = f"uwt_eval_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    _LOADING.append(path)
    # Bytecode is known by the second and the size of its source: of an edited module beside the
    # file it might be the one before, under the digest of the new one.
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with printing_aside():
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason = str(error) if isinstance(error, UserError) else first_line(error)
        raise UserError(f"--plugin {path}: {reason}") from error
    finally:
        sys.dont_write_bytecode = writes
        _LOADING.pop()
    _LOADED.append(path)


def task_groups() -> dict[str, list[str]]:
    """Tasks by group ('table8', 'vqa' …), in the order of their names."""
    groups: dict[str, list[str]] = {}
    for task_name, spec in TASKS.ask(lambda task: task.spec).items():
        for group in spec.groups:
            groups.setdefault(group, []).append(task_name)
    return groups


def expand_tasks(names: Iterable[str]) -> list[str]:
    """Replace groups ('table8') by their tasks, keep order, drop repeats."""
    names = list(dict.fromkeys(names))
    if all(name in TASKS for name in names):
        return names
    groups = task_groups()
    chosen: list[str] = []
    for name in names:
        if name not in TASKS and name not in groups:
            TASKS.prefixed(name)  # It says which names are like this one.
            hint = did_you_mean(name, [*TASKS.names(), *groups])
            raise UserError(f"unknown task {name!r}: {hint}")
        chosen += [name] if name in TASKS else groups[name]
    return list(dict.fromkeys(chosen))
