"""Settings from text and as JSON: `--set key=value`, checkpoints and logs."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from uniwetok.fields import did_you_mean
from uniwetok.train import TrainingError

T = TypeVar("T")

_SHAPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_NONE = "none"
_DEFAULT = "default"


class _Draft:
    """A configuration that is being changed: checked as a whole once all changes are made."""

    def __init__(self, config: Any) -> None:
        self.kind = type(config)
        self.hints = get_type_hints(self.kind)
        self.values = {item.name: getattr(config, item.name) for item in fields(config)}
        for name, value in self.values.items():
            if is_dataclass(value):
                self.values[name] = _Draft(value)

    def build(self, path: str = "") -> Any:
        values = {
            name: value.build(_join(path, name)) if isinstance(value, _Draft) else value
            for name, value in self.values.items()
        }
        return _construct(self.kind, values, path)


def override(config: T, items: Iterable[str]) -> T:
    """Change settings by `key=value`, in order; they are checked together after the last one.

    Works on any configuration that is a dataclass of the field types below. A key is a path of
    fields, such as `loss.entropy.weight`. `none` empties a field that may be empty, `default`
    resets a part; setting a field inside an empty part creates the part. Lists are separated
    by commas, pairs by an x: `data.buckets=256x256,384x256`.

    Raises:
        TrainingError: an unknown key, or an impossible value.
    """
    draft = _Draft(config)
    for item in items:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key:
            raise TrainingError(f"--set {item}: write KEY=VALUE, such as batch_size=64")
        _set(draft, key, text.strip())
    changed: T = draft.build()
    return changed


def _set(draft: _Draft, key: str, text: str) -> None:
    *parents, name = key.split(".")
    path = ""
    for parent in parents:
        hint = _hint(draft, parent, f"--set {key}", path)
        path = _join(path, parent)
        part = _part_of(hint)
        if part is None:
            raise TrainingError(f"--set {key}: {path} is {_expected(hint)}, without fields")
        if draft.values[parent] is None:
            draft.values[parent] = _Draft(part())
        draft = draft.values[parent]
    hint = _hint(draft, name, f"--set {key}", path)
    try:
        value = _parse(text, hint)
    except ValueError as error:
        raise TrainingError(f"--set {key}={text}: expected {_expected(hint)}") from error
    draft.values[name] = _Draft(value) if is_dataclass(value) else value


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration's fields as JSON-ready values."""
    return {item.name: _plain(getattr(config, item.name)) for item in fields(config)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _construct(kind: type[T], values: Mapping[str, Any], path: str) -> T:
    try:
        return kind(**values)
    except TrainingError:
        raise
    except ValueError as error:
        raise TrainingError(f"{path}: {error}" if path else str(error)) from error


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _hint(draft: _Draft, name: str, what: str, path: str) -> Any:
    if name not in draft.hints:
        where = path or "the settings"
        raise TrainingError(
            f"{what}: there is no {name!r} in {where}; {did_you_mean(name, draft.hints)}"
        )
    return draft.hints[name]


def _choices(hint: Any) -> tuple[Any, bool]:
    """The type without None, and whether None was allowed."""
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = (item for item in get_args(hint) if item is not type(None))
        return inner, True
    return hint, False


def _part_of(hint: Any) -> type[Any] | None:
    inner, _ = _choices(hint)
    return inner if is_dataclass(inner) and isinstance(inner, type) else None


def _parse(text: str, hint: Any, separator: str = ",") -> Any:
    inner, optional = _choices(hint)
    if optional and text.lower() == _NONE:
        return None
    part = _part_of(inner)
    if part is not None:
        return _chosen(text.lower(), [_DEFAULT]) and part()
    if inner is bool:
        return _chosen(text.lower(), ["true", "false"]) == "true"
    if get_origin(inner) is Literal:
        return _chosen(text, get_args(inner))
    if get_origin(inner) is tuple:
        texts = [item.strip() for item in text.split(separator)] if text else []
        kinds = get_args(inner)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(texts)
        return tuple(_parse(item, kind, "x") for item, kind in zip(texts, kinds, strict=True))
    return inner(text)


def _chosen(text: str, choices: Iterable[str]) -> str:
    if text not in choices:
        raise ValueError
    return text


def _expected(hint: Any) -> str:
    """What a value of this type looks like."""
    inner, optional = _choices(hint)
    return _SHAPES.get(inner, "") + _shape(inner) + (" or none" if optional else "")


def _shape(inner: Any) -> str:
    if _part_of(inner):
        return f"'{_DEFAULT}' (its fields are set one by one)"
    if get_origin(inner) is Literal:
        return "one of " + ", ".join(map(str, get_args(inner)))
    if get_origin(inner) is tuple:
        kinds = get_args(inner)
        if get_origin(kinds[0]) is tuple:
            return "pairs separated by commas, such as 256x256,384x256"
        count = "" if kinds[-1] is Ellipsis else f"{len(kinds)} "
        return f"{count}values separated by commas, each {_expected(kinds[0])}"
    return ""
