"""Other distributions beside ours, as `pip` would have left them: a folder to put on the path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path


def install(site: Path, name: str, points: str, modules: Mapping[str, str]) -> Path:
    """Write a distribution `name` 1.0 with the entry points and modules given into `site`."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    for module, text in modules.items():
        path = site / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (info / "RECORD").write_text("".join(f"{module},,\n" for module in modules))
    return site


def hostile(folder: Path) -> Path:
    """A working directory with modules of many names, each of which raises when imported."""
    packages = (
        "harness",
        "tasks",
        "reports",
        "uniwetok",
        "uwt_eval",
        "uwt_images",
        "tests",
        "lmms_eval",
    )
    modules = ("numpy", "torch", "typer", "rich", "pydantic", "PIL", "filelock", "json", "pickle")
    for name in packages:
        (folder / name).mkdir(parents=True)
    places = [f"{name}/__init__.py" for name in packages] + [f"{name}.py" for name in modules]
    for place in places:
        (folder / place).write_text(f"raise RuntimeError('{place} of the working directory')")
    return folder


_HIDING = """
import sys
from importlib.machinery import PathFinder

HIDDEN = {modules!r}
NAMES = {distributions!r}


class Seeing(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in HIDDEN else PathFinder.find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, *args, **options):
        found = PathFinder.find_distributions(*args, **options)
        return (each for each in found if each.name.lower().replace("_", "-") not in NAMES)


sys.meta_path[sys.meta_path.index(PathFinder)] = Seeing
"""


def hiding(site: Path, modules: Iterable[str], distributions: Iterable[str]) -> Path:
    """Write a folder for PYTHONPATH with which no process sees these modules and distributions."""
    site.mkdir(parents=True, exist_ok=True)
    text = _HIDING.format(modules={*modules}, distributions={*distributions})
    (site / "sitecustomize.py").write_text(text)
    return site
