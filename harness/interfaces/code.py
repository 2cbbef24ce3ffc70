"""The code of a plug-in: its file, and what that imports of the modules that lie beside it."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from harness.interfaces.errors import PACKAGES, digest_of

_INSTALLED = {"site-packages", "dist-packages"}


def code_digest(path: Path) -> str:
    """SHA-256 of a Python file and of the local modules that it imports, directly or not.

    Local are those below the file's folder, or the topmost package that it belongs to, and all
    others that are neither installed nor ours. Imports are found in the text, also those within
    functions; nothing is run, and what is imported by a computed name is not seen.
    """
    path = path.resolve()
    root = path.parent
    while (root.parent / "__init__.py").is_file() and (root / "__init__.py").is_file():
        root = root.parent
    found: dict[Path, str] = {}
    pending = [path]
    while pending:
        file = pending.pop()
        if file not in found:
            content = file.read_bytes()
            found[file] = hashlib.sha256(content).hexdigest()
            pending += _local_imports(content, file, root)
    return digest_of(sorted([os.path.relpath(file, root), sha] for file, sha in found.items()))


def module_digest(name: str) -> str:
    """`code_digest` of an imported module's file; '' where it is ours or has none."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return "" if file is None or name.partition(".")[0] in PACKAGES else code_digest(Path(file))


def _local_imports(content: bytes, file: Path, root: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # A data file or an extension, whose bytes are enough.
        return
    own = root.name not in _INSTALLED  # Of a lone module, all others there are strangers.
    for names, base in _imported(tree, file):
        for found in _files(names, [str(base)] if base else [str(root), *sys.path]):
            if base or (own and found.is_relative_to(root)) or not _is_installed(found):
                yield found


def _imported(tree: ast.AST, file: Path) -> Iterator[tuple[list[str], Path | None]]:
    """Parts of the dotted names that are imported, and the folder of relative ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split("."), None
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            base = file.parents[node.level - 1] if node.level else None
            for alias in node.names:  # What is imported from a package may be a module of it.
                yield [*module, alias.name], base


def _files(names: list[str], places: list[str]) -> Iterator[Path]:
    """The Python files that importing `a.b.c` runs: of a, a.b and a.b.c, as far as there are any.

    Of our own packages there are none.
    """
    for name in names:
        spec = None if names[0] in PACKAGES else PathFinder.find_spec(name, places)
        if spec is None:
            return
        if spec.origin and spec.has_location:
            yield Path(spec.origin).resolve()
        places = list(spec.submodule_search_locations or [])


def _is_installed(file: Path) -> bool:
    """Whether a file is of Python's own library or of an installed package, wherever that lies."""
    library = sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")
    return bool(_INSTALLED & set(file.parts)) or any(map(file.is_relative_to, library))
