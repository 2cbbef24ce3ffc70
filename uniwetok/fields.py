"""Dataclasses as settings: built from mappings, their values checked, unknown names explained."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints


class Settings:
    """Base of the dataclasses that hold settings: numbers are finite, ``Literal`` is kept to.

    Raises:
        ValueError: a value is impossible; the message names the field, its value and the fix.
    """

    def __post_init__(self) -> None:
        for name, choices in _choices(type(self)).items():  # type: ignore[arg-type]
            check_choice(name, getattr(self, name), choices)
        for each in fields(self):  # type: ignore[arg-type]
            check_finite(each.name, getattr(self, each.name))


@functools.cache
def _choices(kind: type[Any]) -> dict[str, tuple[str, ...]]:
    """Values of each field that has one of some, by name."""
    hints = get_type_hints(kind)
    literals = [each.name for each in fields(kind) if get_origin(hints[each.name]) is Literal]
    return {name: get_args(hints[name]) for name in literals}


class Mapped(Settings):
    """Base of the settings that files hold as mappings of their fields."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from the mapping that ``to_dict`` gives.

        Raises:
            ValueError: a name is not a field, or a value is impossible.
        """
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"unknown fields {', '.join(unknown)}; known: {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]


def check_count(name: str, value: object, least: int = 1, most: int | None = None) -> None:
    """Require a whole number of at least ``least``, and ``most`` if given; no True or False.

    Raises:
        ValueError: it is something else; the message names the field and its value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}")
    if most is not None and value > most:
        raise ValueError(f"{name}={value!r} must be at most {most}")


def check_counts(settings: object) -> None:
    """Require a whole number of at least 1 in every field of type int; raise ``ValueError``."""
    for each in fields(settings):  # type: ignore[arg-type]
        if each.type == "int":
            check_count(each.name, getattr(settings, each.name))


def store_floats(settings: object) -> None:
    """Store whole numbers in float fields as floats: equal settings are then written alike."""
    for each in fields(settings):  # type: ignore[arg-type]
        if each.type == "float":
            object.__setattr__(settings, each.name, float(getattr(settings, each.name)))


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Require one of some values; raise ``ValueError``."""
    known = list(choices)
    if value not in known:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(known)}")


def check_finite(name: str, value: object) -> None:
    """Refuse a number that is NaN or infinite, also among several; raise ``ValueError``."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{name}={value} must be finite")


def check_share(name: str, value: float, what: str = "share") -> None:
    """Require a share, or whatever else it is called, in 0..1; raise ``ValueError``."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value} is not a {what} in 0..1")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say the nearest known names where there are any, then all of them."""
    choices = list(known)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{hint}known: {', '.join(choices)}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Name nested values by their paths, such as ``optimizer.learning_rate``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        flat |= flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat
