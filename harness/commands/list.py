"""`uwt-eval list`: the tasks, models, metrics and more that are installed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Table

from harness.commands.console import ARROWS, Json, Plugins, label, terminal, unit_of
from harness.interfaces.errors import UserError
from harness.interfaces.own import remembered
from harness.interfaces.registry import (
    EXTRACTORS,
    LISTINGS,
    METRICS,
    MODELS,
    TASKS,
    load_plugins,
)

if TYPE_CHECKING:
    from harness.interfaces import Metric


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
    LMMS = "lmms"


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


def _lmms() -> dict[str, str]:
    """Tasks of lmms-eval's: too many to stand among the others."""
    return LISTINGS.get(Kind.LMMS)()


def _summary(plugin: Any) -> str:
    """The first line of what a plug-in says of itself."""
    said = getattr(plugin, "func", plugin)
    if not (inspect.isclass(said) or inspect.isfunction(said)):
        said = type(said)
    return next(iter((inspect.getdoc(said) or "").splitlines()), "")


def _metrics() -> dict[str, str]:
    def told(metric: Metric) -> tuple[str, str, str]:
        return _summary(metric), ARROWS[metric.higher_is_better], unit_of(metric)

    lines = {}
    for name, (text, arrow, unit) in METRICS.ask(told).items():
        form = label(name)
        heading = f"{form.title}{arrow}" + f" in {unit}" * bool(unit)
        lines[name] = f"{heading}: {form.about or text}"
    return lines


def _of_task(kind: Kind, task: str) -> Collection[str]:
    """The models that a task takes, or what it measures with."""
    from harness.engine.models import fitting_tasks

    spec = TASKS.get(task).spec
    if kind is Kind.MODELS:
        fits = MODELS.ask(lambda model: spec.name in fitting_tasks(cast(type, model)))
        return [name for name, fit in fits.items() if fit]
    if kind is Kind.METRICS:
        return spec.metrics  # type: ignore[no-any-return]  # A registry holds anything.
    if kind is Kind.EXTRACTORS:
        return {need for name in spec.metrics for need in METRICS.get(name).needs}
    if kind is Kind.PROTOCOLS:
        return spec.protocols  # type: ignore[no-any-return]
    raise UserError(f"list {kind} --task {task}: --task chooses among {', '.join(_CHOOSABLE)}")


_CHOOSABLE = (Kind.MODELS, Kind.METRICS, Kind.EXTRACTORS, Kind.PROTOCOLS)


_LISTS: dict[Kind, Callable[[], dict[str, str]]] = {
    Kind.TASKS: _tasks,
    Kind.GROUPS: _groups,
    Kind.MODELS: lambda: MODELS.ask(_summary),
    Kind.METRICS: _metrics,
    Kind.EXTRACTORS: lambda: EXTRACTORS.ask(_summary),
    Kind.PROTOCOLS: _protocols,
    Kind.ASSETS: _assets,
    Kind.PRESETS: _presets,
    Kind.LMMS: _lmms,
}


def list_names(
    kind: Annotated[Kind | None, typer.Argument(help="Which list; all where absent.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Only the models, metrics … of this task.")
    ] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """List tasks, groups, models, metrics, protocols, assets, presets; `lmms` for lmms-eval's."""
    load_plugins(plugin)
    every = [item for item in Kind if item is not Kind.LMMS]
    kinds = [kind] if kind else list(_CHOOSABLE) if task else every
    listing = {
        # What is installed of lmms-eval, and its data, are not our code's to decide.
        item.value: _LISTS[item]()
        if item is Kind.LMMS
        else remembered(f"list {item.value}", _LISTS[item])
        for item in kinds
    }
    if task is not None:
        for item in kinds:
            chosen = _of_task(item, task)
            rows = listing[item.value]
            listing[item.value] = {name: rows[name] for name in rows if name in chosen}
    if as_json:
        print(json.dumps(listing, indent=2))
        return
    console = terminal()
    for title, rows in listing.items():
        if console.is_terminal:
            console.print(_table(title, rows, console.width))
        else:  # A line each, for whatever looks for one.
            width = max(map(len, rows), default=0)
            lines = [f"  {name:<{width}}    {text}".rstrip() for name, text in rows.items()]
            whole = "\n".join([title, *lines])
            console.print(whole, markup=False, highlight=False, soft_wrap=True)
        console.print()


def _table(title: str, rows: dict[str, str], room: int) -> Table:
    """Names and their lines in `room` columns, of which names take half at most."""
    table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 2))
    table.add_column(overflow="fold", max_width=room // 2)
    table.add_column(style="dim", overflow="fold")
    for name, text in rows.items():
        table.add_row(escape(name), escape(text))
    return table
