"""The settings of a family of tasks, typed: what a protocol may say, and what is wrong with one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from harness.interfaces.errors import UserError, did_you_mean
from harness.interfaces.types import Protocol, Record, Stage

Count = Annotated[int, Field(ge=1, le=1_000_000)]
"""A number of things or of pixels; above a million memory or patience ends before the work does."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""NumPy's legacy generators take no larger one."""


@dataclass(frozen=True)
class Moves:
    """Marks the only metrics that a field can move, by their names or those of their extractors.

    A field without it may move any.
    """

    names: tuple[str, ...]

    def moves(self, metric: str, needs: Sequence[str]) -> bool:
        """Whether it can move a metric that needs these extractors."""
        return not {metric, *needs}.isdisjoint(self.names)


class ProtocolSettings(Record):
    """Base of what a family of tasks reads of a protocol; registered in `FAMILIES` by its kind.

    Every field is marked with the first stage whose results it can change, as in
    `seed: Annotated[int, Stage.SCORE]`. A table's mark holds for its own fields that have none.
    What only some metrics read is marked with those, by `Moves`.
    """

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Read a protocol's settings; raise `UserError` naming the first that is wrong."""
        found = check(cls, settings)
        if isinstance(found, list):
            raise UserError(str(found[0]))
        return found

    def as_protocol(self, name: str, title: str) -> Protocol:
        """A protocol of these settings, where there is no file of it."""
        settings = self.model_dump(mode="json")
        return Protocol(name=name, title=title, settings=settings, stages=self.stages())

    def stages(self) -> dict[str, Stage]:
        """The stage of every setting, by its dotted name."""
        return dict(_stages(self, "", Stage.GENERATE))


ModelPrecision = Literal["fp32", "tf32", "bf16", "fp16"]
"""What a model computes in; networks of metrics are in strict float32 whatever it is.

`tf32` lets a GPU round the inputs of float32 products to 10 bits, `fp32` does not. `bf16` and
`fp16` are autocast's mixed precision, with TF32 for the rest. A model whose weights have a dtype of
their own keeps it."""

MODEL_PRECISION: ModelPrecision = "tf32"
"""Where a protocol says nothing: what the authors of models ran."""


class ModelSettings(ProtocolSettings):
    """Of tasks in which a model computes on the run's device."""

    model_precision: Annotated[ModelPrecision, Stage.GENERATE] = MODEL_PRECISION


T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a protocol's settings."""

    place: tuple[str, ...]
    """The setting's name, below those of its tables; empty for the settings as a whole."""
    text: str
    missing: bool = False

    def __str__(self) -> str:
        place = ".".join(self.place)
        return f"protocol setting {place!r} {self.text}" if place else self.text


def check(schema: type[T], settings: Mapping[str, Any]) -> T | list[Problem]:
    """The typed settings, or all that is wrong with them, what is only missing last."""
    try:
        # As JSON, because there alone strict reading takes a list for a tuple: nothing may be
        # converted silently, since digests are taken of the settings as they were written.
        text = json.dumps(settings, default=str)
        typed = schema.model_validate_json(text, strict=True)
    except ValidationError as error:
        problems = [_problem(schema, settings, each) for each in error.errors()]
        # A misspelt name is missing too; what was written says more than what was not.
        return sorted(problems, key=lambda problem: problem.missing)
    moved = list(_rewritten(settings, typed.model_dump(mode="json", by_alias=True), ()))
    return moved or typed


def _rewritten(given: Any, read: Any, place: tuple[str, ...]) -> Iterator[Problem]:
    """Values that are read as others than they were written, or that JSON cannot hold.

    They would move the digest and nothing else, as 255.0 or true for 255 or 1, or have none.
    """
    if isinstance(given, Mapping):
        for name, value in given.items():
            below = read.get(name) if isinstance(read, Mapping) else None
            yield from _rewritten(value, below, (*place, name))
    elif isinstance(given, list):
        items = read if isinstance(read, list) else [None] * len(given)
        for value, below in zip(given, items, strict=False):
            yield from _rewritten(value, below, place)
    elif isinstance(given, date | time):
        yield Problem(place, f"cannot be the date or time {given}: a text stands in quotes")
    elif isinstance(given, bool | float) and type(read) is int:
        yield Problem(place, f"cannot be {given!r}: write {read}")
    elif isinstance(given, float) and not math.isfinite(given):
        yield Problem(place, f"cannot be {given}: it must be finite")


def _problem(schema: type[BaseModel], settings: Mapping[str, Any], error: Any) -> Problem:
    place, tables = _place(schema, settings, error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        known = {name for table in tables for name in table.model_fields}
        return Problem(place, f"is unknown: {did_you_mean(place[-1], known)}")
    if kind == "missing":
        return Problem(place, "is missing", missing=True)
    if kind == "union_tag_not_found":
        return Problem((*place, context["discriminator"].strip("'")), "is missing", missing=True)
    if kind == "union_tag_invalid":
        place = (*place, context["discriminator"].strip("'"))
        return Problem(place, f"cannot be {context['tag']!r}: use {context['expected_tags']}")
    if kind == "value_error":  # A table's own rule, which says what it found.
        return Problem(place, str(context["error"]))
    said = error["msg"].replace("an object", "a table")
    return Problem(place, f"cannot be {error['input']!r}: {said[:1].lower()}{said[1:]}")


def _place(
    schema: type[BaseModel], settings: Mapping[str, Any], location: Sequence[str | int]
) -> tuple[tuple[str, ...], list[type[BaseModel]]]:
    """An error's dotted place, and the schemas that its table may have.

    Pydantic puts the tag of a union's chosen member between the names; it is left out.
    """
    place: list[str] = []
    tables: list[type[BaseModel]] = [schema]
    within: Any = settings
    for depth, part in enumerate(location):
        last = depth == len(location) - 1
        fields = [table.model_fields[str(part)] for table in tables if part in table.model_fields]
        if not fields and not last:
            continue
        place.append(str(part))
        if isinstance(within, Mapping):
            within = within.get(part)
        if not last:
            tables = [table for field in fields for table in tables_of(field.annotation)]
    return tuple(place), tables


def tables_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schemas in a field's type: its own, or those of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from tables_of(part)


def _stages(settings: BaseModel, prefix: str, above: Stage) -> Iterator[tuple[str, Stage]]:
    for name, field in type(settings).model_fields.items():
        stage, value = stage_of(field) or above, getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from _stages(value, f"{prefix}{name}.", stage)
        else:
            yield f"{prefix}{name}", stage


def stage_of(field: FieldInfo) -> Stage | None:
    """The stage that a field is marked with."""
    return next((mark for mark in field.metadata if isinstance(mark, Stage)), None)


def moves_of(field: FieldInfo) -> Moves | None:
    """The metrics that a field is marked with; None where it may move any."""
    return next((mark for mark in field.metadata if isinstance(mark, Moves)), None)
