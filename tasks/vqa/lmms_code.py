"""What lmms-eval's task code asks for, found by reading it: keys, packages, pictures as replies.

Nothing of it is run. From the functions that a task's file names, the names that they use are
followed through their modules, as far as these are lmms-eval's own.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_KEY = re.compile(r"[A-Z0-9_]*API_KEY")
_JUDGE = "lmms_eval.llm_judge"
"""The package through which scorers ask a judge; which provider's is decided when it is used."""
JUDGE_KEY = "OPENAI_API_KEY"
"""The key of that package's usual provider."""


@dataclass(frozen=True)
class Function:
    """A function that a task's file names, as `!function utils.score` does."""

    module: Path
    name: str


@dataclass(frozen=True)
class _Module:
    """One file's top-level statements by the names that they bind."""

    bound: dict[str, list[ast.stmt]]
    """Statements by the names that they bind."""
    imports: dict[str, tuple[str, str]]
    """By local name: a module, and what is taken from it; '' where it is the module itself."""
    needed: frozenset[str]
    """Modules that are imported whenever the file is."""

    @classmethod
    def read(cls, path: Path) -> _Module:
        bound: dict[str, list[ast.stmt]] = {}
        imports: dict[str, tuple[str, str]] = {}
        body = ast.parse(path.read_bytes()).body
        for statement in _flat(body):
            if isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    imports[alias.asname or alias.name] = (statement.module or "", alias.name)
            elif isinstance(statement, ast.Import):
                for alias in statement.names:
                    imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, "")
            else:
                for name in _bound_by(statement):
                    bound.setdefault(name, []).append(statement)
        direct = [
            alias.name for each in body if isinstance(each, ast.Import) for alias in each.names
        ]
        direct += [
            each.module or ""
            for each in body
            if isinstance(each, ast.ImportFrom) and not each.level
        ]
        return cls(bound, imports, frozenset(direct))


def _flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those below `if`, `try` and `with` too."""
    for statement in body:
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.For):
            for name in ("body", "orelse", "finalbody"):
                yield from _flat(getattr(statement, name, ()))
        else:
            yield statement


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


@functools.cache
def _module(path: Path) -> _Module | None:
    try:
        return _Module.read(path)
    except (OSError, SyntaxError, ValueError):
        return None


@functools.cache
def _uses(path: Path, name: str) -> tuple[frozenset[str], frozenset[str], bool]:
    """What is bound to a name: the names and keys that it uses, whether it reads drawn pictures."""
    module = _module(path)
    nodes = [
        node for each in (module.bound.get(name, []) if module else []) for node in ast.walk(each)
    ]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    keys = {key for node in nodes if (key := _variable(node)) and _KEY.fullmatch(key)}
    return frozenset(names), frozenset(keys), any(map(_reads_pictures, nodes))


def _variable(node: ast.AST) -> str:
    """What `os.getenv("NAME")`, `os.environ.get("NAME")` or `os.environ["NAME"]` reads."""
    read: ast.AST | None = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        read = node.args[0] if node.func.attr in {"getenv", "get"} and node.args else None
    elif isinstance(node, ast.Subscript):
        read = node.slice
    return str(read.value) if isinstance(read, ast.Constant) else ""


def _reads_pictures(node: ast.AST) -> bool:
    """`prediction.get("images", [])`: how task code takes pictures out of a reply."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    receiver = node.func.value
    first = node.args[0] if node.args else None
    return (
        node.func.attr == "get"
        and isinstance(receiver, ast.Name)
        and receiver.id.startswith(("pred", "result", "output"))
        and isinstance(first, ast.Constant)
        and first.value == "images"
    )


def _file_of(module: str, beside: Path) -> Path | None:
    """The file of a module of lmms-eval's, or of one beside another."""
    if module.startswith("lmms_eval.tasks."):
        root = next(each for each in beside.parents if each.name == "tasks")
        place = root.joinpath(*module.split(".")[2:])
    else:
        place = beside.parent.joinpath(*module.split(".")) if module else beside.parent
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


@dataclass(frozen=True)
class Reached:
    """What functions come to use, directly or through others."""

    keys: frozenset[str]
    """Environment variables with an endpoint's key, of which one is enough."""
    draws: bool
    """Whether replies are read as pictures."""
    packages: frozenset[str]
    """What importing their modules needs and is not installed."""


@functools.cache
def reached(functions: frozenset[Function]) -> Reached:
    """Follow the names from functions of task files."""
    todo = [(function.module, function.name) for function in functions]
    seen: set[tuple[Path, str]] = set()
    keys: set[str] = set()
    draws = False
    while todo:
        path, name = todo.pop()
        module = _module(path)
        if (path, name) in seen or module is None:
            continue
        seen.add((path, name))
        if name in module.imports:
            source, member = module.imports[name]
            if source.startswith(_JUDGE):
                keys.add(JUDGE_KEY)
            elif found := _file_of(source, path):
                todo.append((found, member))
            continue
        names, read, reads = _uses(path, name)
        todo += [(path, each) for each in names if each in module.bound or each in module.imports]
        keys |= read
        draws = draws or reads
    files = {function.module for function in functions}
    return Reached(frozenset(keys), draws, frozenset().union(*map(_missing, files)))


@functools.cache
def _closure(path: Path) -> frozenset[Path]:
    """A file and those of lmms-eval's tasks that are imported whenever it is."""
    found: set[Path] = set()
    todo = [path]
    while todo:
        path = todo.pop()
        module = _module(path)
        if module is None or path in found:
            continue
        found.add(path)
        todo += [file for name in module.needed if name and (file := _file_of(name, path))]
    return frozenset(found)


def _missing(path: Path) -> Iterator[str]:
    """Packages that are imported whenever a file is, and that are not installed."""
    for file in _closure(path):
        module = _module(file)
        for name in module.needed if module else ():
            package = name.partition(".")[0]
            if package and not _file_of(name, file) and importlib.util.find_spec(package) is None:
                yield package


def shows_nothing(function: Function) -> bool:
    """Whether a function that gives a question's pictures never gives any."""
    module = _module(function.module)
    returns = [
        node.value
        for statement in (module.bound.get(function.name, []) if module else [])
        for node in ast.walk(statement)
        if isinstance(node, ast.Return)
    ]
    return bool(returns) and all(
        each is None or (isinstance(each, ast.List) and not each.elts) for each in returns
    )
