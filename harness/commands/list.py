"""`uwt-eval list`: the tasks, models, metrics and more that are installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from harness.commands.console import Json, Plugins, terminal
from harness.interfaces.registry import EXTRACTORS, METRICS, MODELS, TASKS, load_plugin


class Kind(StrEnum):
    """What can be listed."""

    TASKS = "tasks"
    GROUPS = "groups"
    MODELS = "models"
    METRICS = "metrics"
    EXTRACTORS = "extractors"
    PROTOCOLS = "protocols"
    ASSETS = "assets"
    PRESETS = "presets"


def _tasks() -> dict[str, str]:
    titles = TASKS.ask(lambda task: str(task.spec.title))
    return {name: titles[name] for name in sorted(titles)}


def _groups() -> dict[str, str]:
    groups: dict[str, list[str]] = {}
    for name, its_groups in TASKS.ask(lambda task: tuple(task.spec.groups)).items():
        for group in its_groups:
            groups.setdefault(group, []).append(name)
    return {group: ", ".join(groups[group]) for group in sorted(groups)}


def _protocols() -> dict[str, str]:
    from harness.sets import FILES

    users: dict[str, list[str]] = {}
    protocols = TASKS.ask(lambda task: tuple(task.spec.protocols)) | {FILES.name: FILES.protocols}
    for user, its_protocols in protocols.items():
        for protocol in its_protocols:
            users.setdefault(protocol, []).append(user)
    return {protocol: "for " + ", ".join(users[protocol]) for protocol in sorted(users)}


def _assets() -> dict[str, str]:
    from harness.data.assets import ASSETS

    return {name: f"{asset.filename}, for {asset.used_by}" for name, asset in ASSETS.items()}


def _presets() -> dict[str, str]:
    from harness.engine.presets import all_presets

    return {name: preset.title for name, preset in all_presets().items()}


_LISTS: dict[Kind, Callable[[], dict[str, str]]] = {
    Kind.TASKS: _tasks,
    Kind.GROUPS: _groups,
    Kind.MODELS: lambda: dict.fromkeys(MODELS.names(), ""),
    Kind.METRICS: lambda: dict.fromkeys(METRICS.names(), ""),
    Kind.EXTRACTORS: lambda: dict.fromkeys(EXTRACTORS.names(), ""),
    Kind.PROTOCOLS: _protocols,
    Kind.ASSETS: _assets,
    Kind.PRESETS: _presets,
}


def list_names(
    kind: Annotated[Kind | None, typer.Argument(help="Which list; all where absent.")] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """List tasks, groups, models, metrics, protocols, assets and presets of training."""
    for path in plugin or []:
        load_plugin(path)
    listing = {item.value: _LISTS[item]() for item in ([kind] if kind else Kind)}
    if as_json:
        print(json.dumps(listing, indent=2))
        return
    console = terminal()
    for title, rows in listing.items():
        table = Table(
            title=title, title_justify="left", box=None, show_header=False, padding=(0, 2)
        )
        table.add_column(no_wrap=True)
        table.add_column(style="dim")
        for name, text in rows.items():
            table.add_row(name, text)
        console.print(table)
        console.print()
