"""Every setting of every shipped protocol is read by the code that it is about.

A setting with one allowed value needs no reader: it says what the code does, and the schema refuses
every other value. All others must be read by name somewhere in their own family's code.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from harness.engine import protocols
from harness.interfaces.registry import FAMILIES, TASKS
from harness.sets import FILES
from tasks import PROTOCOLS
from tests.conftest import REPOSITORY

READERS = {
    "harness.metrics.settings": ("harness/metrics", "harness/sets", "tasks/gen"),
    "harness.data.images": ("harness/data/images.py",),
    "harness.interfaces.protocols": ("harness/engine",),
    "harness.judges.exchange": ("harness/judges", "tasks/gedit"),
}
"""Where the settings of shared schemas are read; a task's own are read in its folder."""
SPECS = [*(TASKS.get(name).spec for name in TASKS.names()), FILES]


def shipped() -> Iterator[tuple[str, type[BaseModel], str]]:
    """Every setting of every protocol: where it stands, its schema and its name there."""
    for spec in SPECS:
        for name in spec.protocols:
            protocol = protocols.load(name, PROTOCOLS, spec)
            typed = FAMILIES.get(spec.kind).of(protocol.settings)
            for place, schema, field in walked(typed, protocol.settings):
                yield f"{name}: {spec.kind}: {place}", schema, field


def walked(
    typed: BaseModel, settings: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, type[BaseModel], str]]:
    for key in settings:
        value = getattr(typed, key)
        if isinstance(value, BaseModel):
            yield from walked(value, settings[key], f"{prefix}{key}.")
        else:
            owner = next(
                schema for schema in reversed(type(typed).__mro__)
                if issubclass(schema, BaseModel) and key in schema.model_fields
            )  # fmt: skip
            yield f"{prefix}{key}", owner, key


def is_constant(schema: type[BaseModel], field: str) -> bool:
    annotation = schema.model_fields[field].annotation
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


@functools.cache
def names_read(place: str) -> frozenset[str]:
    """Names of attributes, keys and parameters that are read in a file or below a folder.

    Rules that a schema has for itself do not count.
    """
    root = REPOSITORY / place
    found: set[str] = set()
    for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
        for node in read_nodes(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                found.add(str(node.slice.value))
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get":
                found |= {str(each.value) for each in node.args if isinstance(each, ast.Constant)}
            elif isinstance(node, ast.arg):  # A table may be handed over as keywords, `**table`.
                found.add(node.arg)
    return frozenset(found)


def read_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        decorators = getattr(node, "decorator_list", [])
        if any(
            getattr(getattr(each, "func", None), "id", "") == "model_validator"
            for each in decorators
        ):
            continue
        yield node
        yield from read_nodes(node)


def readers(schema: type[BaseModel]) -> tuple[str, ...]:
    module = schema.__module__
    return READERS.get(module) or (str(Path(*module.split(".")[:2])), "tasks/shared")


ALL = {f"{schema.__name__}.{field}": (schema, field) for _, schema, field in shipped()}


@pytest.mark.parametrize("name", ALL)
def test_a_shipped_setting_is_read_or_has_one_value(name: str) -> None:
    schema, field = ALL[name]
    assert is_constant(schema, field) or any(
        field in names_read(place) for place in readers(schema)
    ), f"{name} is read nowhere in {readers(schema)}"


def test_a_setting_that_nobody_reads_is_found() -> None:
    assert "crop" in names_read("tasks/recon")
    assert "spelt_wrong" not in names_read("tasks/recon")
    assert "ssim" not in names_read("harness/metrics/settings.py"), "a rule is no reader"


def test_the_choices_of_a_schema_are_those_of_the_code() -> None:
    from harness.metrics import inception, inception_score, prdc
    from harness.metrics.settings import Inception, InceptionScore, Manifolds, TappedInception

    def choices(schema: type[BaseModel], field: str) -> set[str]:
        return set(get_args(schema.model_fields[field].annotation))

    assert choices(Inception, "input") == set(inception.INPUT_RULES)
    assert choices(TappedInception, "tap") < set(get_args(inception.Output))
    assert choices(InceptionScore, "rule") == set(get_args(inception_score.SplitRule))
    assert choices(Manifolds, "precision") == set(get_args(prdc.Precision))
