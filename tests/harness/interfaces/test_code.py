"""The digest of a plug-in's code: its file and what it imports of the modules beside it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from harness.interfaces.code import code_digest, module_digest

PLUGIN = """
import numpy
import helper
from package import deep
from package.other import thing as renamed

def late():
    from .sibling import x
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A plug-in with helpers, and a stranger beside it that it does not import."""
    for name, text in {
        "plugin.py": PLUGIN,
        "helper.py": "import second",
        "second.py": "import plugin",
        "package/__init__.py": "",
        "package/deep.py": "from . import deeper",
        "package/deeper.py": "",
        "package/other/__init__.py": "thing = 1",
        "sibling.py": "x = 1",
        "stranger.py": "x = 1",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / "plugin.py"


@pytest.mark.parametrize(
    "name",
    ["plugin", "helper", "second", "package/__init__", "package/deep", "package/deeper",
     "package/other/__init__", "sibling"],
)  # fmt: skip
def test_every_module_that_is_imported_counts(plugin: Path, name: str) -> None:
    before = code_digest(plugin)
    assert code_digest(plugin) == before
    path = plugin.parent / f"{name}.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert code_digest(plugin) != before


def test_what_is_not_imported_and_where_it_lies_counts_not(plugin: Path, tmp_path: Path) -> None:
    before = code_digest(plugin)
    plugin.with_name("stranger.py").write_text("x = 2")
    assert code_digest(plugin) == before
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    assert code_digest(moved / "plugin.py") == before


def test_a_module_elsewhere_on_the_path_counts(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "lib"
    other.mkdir()
    (tmp_path / "helper.py").rename(other / "helper.py")
    without = code_digest(plugin)
    monkeypatch.syspath_prepend(str(other))
    before = code_digest(plugin)
    assert before != without
    (other / "helper.py").write_text("edited = True")
    assert code_digest(plugin) != before


def test_code_that_cannot_be_parsed_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_bytes(b"\xff\x00 not Python")
    before = code_digest(path)
    path.write_bytes(b"\xff\x00 not Python either")
    assert code_digest(path) != before


def test_ours_and_what_is_built_in_have_none(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module_digest("harness.interfaces.code") == ""
    assert module_digest("sys") == module_digest("never_imported") == ""
    monkeypatch.syspath_prepend(str(plugin.parent))
    importlib.import_module("package.deep")
    try:
        first = module_digest("package.deep")
        assert first == code_digest(plugin.parent / "package" / "deep.py") != ""
    finally:
        for name in ("package.deep", "package.deeper", "package"):
            sys.modules.pop(name, None)
