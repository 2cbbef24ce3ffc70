"""Configurations from mappings, as files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def from_mapping(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build a dataclass from its fields' values.

    Raises:
        ValueError: a name is not a field, or a value is impossible.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"unknown fields {', '.join(unknown)}; known: {', '.join(known)}")
    return kind(**values)
