"""Named protocols: TOML files whose settings are merged from general to particular."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.interfaces.errors import UserError
from harness.interfaces.registry import PROTOCOLS, did_you_mean
from harness.interfaces.types import Protocol, TaskSpec


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = (
            _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def find(name: str, spec: TaskSpec) -> Protocol:
    """Read a named protocol from the installed folders, or a protocol file by path."""
    folders = [PROTOCOLS.get(entry) for entry in PROTOCOLS.names()]
    holding = [folder for folder in folders if (folder / f"{name}.toml").is_file()]
    return load(name, [*holding, *folders, Path()][0], spec)


def load(name: str, folder: Path, spec: TaskSpec) -> Protocol:
    """Read protocol `name` from `folder`, or a protocol file by path, for one task.

    A file has `title`, `description` and `[settings]`, then `[kind.KIND]` for a family of tasks
    and `[task.NAME]` for one task; later ones override earlier ones key by key.

    Raises:
        UserError: Unknown name, unreadable file, or no settings for this kind of task.
    """
    path = Path(name) if name.endswith(".toml") else folder / f"{name}.toml"
    if not path.is_file():
        hint = did_you_mean(name, spec.protocols)
        raise UserError(f"unknown protocol {name!r} for task {spec.name!r}: {hint}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"protocol file {path}: {error}") from error
    kinds = content.get("kind", {})
    if spec.kind not in kinds:
        hint = did_you_mean(name, spec.protocols)
        raise UserError(f"protocol {name!r} says nothing about {spec.kind!r} tasks: {hint}")
    settings = _merge(content.get("settings", {}), kinds[spec.kind])
    settings = _merge(settings, content.get("task", {}).get(spec.name, {}))
    return Protocol(
        name=path.stem,
        title=content.get("title", path.stem),
        description=content.get("description", ""),
        settings=settings,
    )
