"""The rungs of the ladder, read off the settings that a family of tasks has and protocols use.

A setting that is added to a family, or a protocol that is added to a task, is a rung by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from harness.interfaces import Metric
from harness.interfaces.protocols import ProtocolSettings, check, moves_of, tables_of
from harness.interfaces.registry import FAMILIES
from harness.interfaces.types import Protocol, TaskSpec, canonical_json, dotted

_OF_THE_MODEL = {"model_precision"}
"""Settings that are no choice of whoever measures: `run --model-precision` compares these."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting, or one table of them, with another value than the base protocol's."""

    place: tuple[str, ...]
    value: Any

    @property
    def text(self) -> str:
        """The change as people read it: `geometry.kernel = pil-bicubic`."""
        value = self.value
        written = " ".join(map(str, value.values())) if isinstance(value, Mapping) else str(value)
        return f"{'.'.join(self.place)} = {written}"


@dataclass(frozen=True, slots=True)
class Rung:
    """A protocol that the metric is computed under, and how it differs from the base."""

    name: str
    protocol: Protocol
    changes: tuple[Change, ...] = ()
    """None of the base, and of a protocol that ships."""


def ladder(
    base: Protocol, spec: TaskSpec, key: str, metric: Metric, find: Callable[[str], Protocol]
) -> list[Rung]:
    """The base, then the other protocols that ship for a task, then one changed choice each.

    A choice is left out that the metric cannot read, or that means nothing beside the others; so is
    a protocol that differs in such choices alone.

    Args:
        base: What the figure was measured under.
        spec: The task.
        key: The metric's.
        metric: The metric.
        find: Gives a protocol that ships by its name.
    """
    schema: type[ProtocolSettings] = FAMILIES.get(spec.kind)
    shipped = [find(name) for name in spec.protocols]
    others = [schema.of(protocol.settings) for protocol in shipped]

    def read(field: FieldInfo) -> bool:
        mark = moves_of(field)
        return mark is None or mark.moves(key, metric.needs)

    def seen(protocol: Protocol) -> str:
        typed = schema.of(protocol.settings).model_dump(mode="json")
        fields = schema.model_fields.items()
        return canonical_json({name: typed[name] for name, field in fields if read(field)})

    rungs = {base.digest: Rung(base.name, base)}
    for protocol in shipped:
        if seen(protocol) != seen(base):
            rungs.setdefault(protocol.digest, Rung(f"protocol {protocol.name}", protocol))
    for change in _changes(schema.of(base.settings), others, (), read):
        if rung := combined(base, schema, [change]):
            rungs.setdefault(rung.protocol.digest, rung)
    return list(rungs.values())


def combined(
    base: Protocol, schema: type[ProtocolSettings], changes: Sequence[Change]
) -> Rung | None:
    """The base with several changes at once; None where they mean nothing together."""
    settings: dict[str, Any] = base.settings
    for change in changes:
        settings = _with(settings, change.place, change.value)
    typed = check(schema, settings)
    if isinstance(typed, list):
        return None
    name = " + ".join(change.text for change in changes)
    protocol = Protocol(
        name=base.name,
        title=f"{base.title}; {name}",
        settings=settings,
        stages=typed.stages(),
    )
    return Rung(name, protocol, tuple(changes))


def apart(one: Change, other: Change) -> bool:
    """Whether two changes can be made at once: neither lies within the other."""
    common = min(len(one.place), len(other.place))
    return one.place[:common] != other.place[:common]


def differences(base: Protocol, rung: Rung) -> dict[str, Any]:
    """The settings of a rung that are not the base's, by dotted name; None of those left out."""
    old, new = dotted(base.settings), dotted(rung.protocol.settings)
    return {name: new.get(name) for name in {**old, **new} if old.get(name) != new.get(name)}


def _with(settings: Mapping[str, Any], place: Sequence[str], value: Any) -> dict[str, Any]:
    name, *below = place
    changed = value if not below else _with(settings.get(name, {}), below, value)
    return {**settings, name: changed}


def _changes(
    table: BaseModel,
    others: Sequence[BaseModel],
    above: tuple[str, ...],
    read: Callable[[FieldInfo], bool],
) -> Iterator[Change]:
    """Every other value that a setting of a table may have, or has in another protocol."""
    for name, field in type(table).model_fields.items():
        value, place = getattr(table, name), (*above, name)
        unset = value is None and moves_of(field) is None
        if unset or name in _OF_THE_MODEL or not read(field):
            continue
        used = [getattr(other, name) for other in others if isinstance(other, type(table))]
        if kinds := list(tables_of(field.annotation)):
            # A marked table that is not there has what its metric does without.
            for kind in kinds:
                if not isinstance(value, kind):
                    found = [*(each for each in used if isinstance(each, kind)), *_made(kind)]
                    written = [each.model_dump(mode="json") for each in found]
                    yield from (Change(place, each) for each in _distinct(written))
            if value is not None:
                yield from _changes(value, used, place, read)
        else:
            allowed = [*_literals(field.annotation), *used]
            yield from (
                Change(place, each)
                for each in _distinct(allowed)
                if each is not None and each != value
            )


def _made(kind: type[BaseModel]) -> Iterator[BaseModel]:
    """A table with every combination of the values that it may have, where these are few."""
    required = {n: f for n, f in kind.model_fields.items() if f.is_required()}
    allowed = [_literals(field.annotation) for field in required.values()]
    for values in itertools.product(*allowed):
        yield kind(**dict(zip(required, values, strict=True)))


def _literals(annotation: Any) -> list[Any]:
    """The values that a type names one by one; none of a number or a text."""
    if annotation is bool:
        return [False, True]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in {Union, UnionType}:
        return [each for part in get_args(annotation) for each in _literals(part)]
    return []


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [each for place, each in enumerate(values) if each not in values[:place]]
