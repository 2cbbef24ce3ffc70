"""Who may import whom, and what importing the command line must not bring along."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("uwt_eval", "uniwetok", "harness", "tasks", "reports", "uwt_images")
MAY_IMPORT = {
    "uwt_images": {"uwt_images"},
    "harness": {"harness", "uwt_images"},
    "tasks": {"tasks", "harness", "uwt_images"},
    "reports": {"reports", "harness", "uwt_images"},
    "uniwetok": {"uniwetok", "uwt_images"},
    "uwt_eval": {"uwt_eval", "harness", "tasks", "reports", "uniwetok"},
}
ADAPTERS = {REPOSITORY / "uniwetok" / name for name in ("plugins", "commands")}
"""Where `uniwetok` meets the harness: its plug-ins and commands."""
FILES = [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names & set(PACKAGES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_follow_the_arrows(path: Path) -> None:
    package = path.relative_to(REPOSITORY).parts[0]
    allowed = MAY_IMPORT[package]
    if path in ADAPTERS or path.parent in ADAPTERS:
        allowed = allowed | {"harness"}
    assert imported_packages(path) <= allowed


LAYERS = (
    {"interfaces"},
    {"data"},
    {"metrics", "judges", "baselines"},
    {"engine"},
    {"sets", "doctor"},
    {"commands"},
    {"cli", "plugins"},
)
"""Rooms of the harness, from the ground up: one imports what lies in it or below it."""


def module_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(module: str) -> set[str]:
    """Our modules that one imports, those for type checking too."""
    found: set[str] = set()
    path = MODULES[module]
    # What a package imports when first asked for it stands in its stub.
    files = [path, *path.parent.glob("__init__.pyi")] if path.name == "__init__.py" else [path]
    for node in (n for f in files for n in ast.walk(ast.parse(f.read_text(encoding="utf-8")))):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {f"{module}.{node.module}"} & set(MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & set(MODULES)) or ({node.module} & set(MODULES))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & set(MODULES)
    return found - {module}


def test_no_circles() -> None:
    graph = {module: imports_of(module) for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


KNOW_TRAINING = ("train", "presets", "studies", "commands")
"""Rooms of `uniwetok` that import training; its models, losses and plug-ins work without."""


def test_models_do_not_know_how_they_are_trained() -> None:
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        if not module.startswith(tuple(f"uniwetok.{room}" for room in KNOW_TRAINING))
        for other in imports_of(module)
        if other.startswith("uniwetok.train")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_harness_is_built_from_the_ground_up() -> None:
    height = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        if module.startswith("harness.")
        for other in imports_of(module)
        if other.startswith("harness.")
        and height[other.split(".")[1]] > height[module.split(".")[1]]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["list", "--json"],
        ["list", "presets"],
        ["show", "imagenet-recon"],
        ["show", "table16"],
        ["show", "webp"],
        ["show", "uniwetok-ar"],
        ["show", "uniwetok-gen"],
        ["show", "--schema"],
    ],
    ids=" ".join,
)
def test_light_commands_import_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'pyarrow', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
