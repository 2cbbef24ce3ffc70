"""`uwt-eval show`: one task, protocol, asset, preset or run in full; the record's JSON Schema."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.commands.console import Json, Plugins, label, terminal, unit_of
from harness.interfaces.errors import UnknownName, UserError, did_you_mean, first_line, json_text
from harness.interfaces.own import remembered
from harness.interfaces.registry import METRICS, MODELS, TASKS, Registry, load_plugins, task_groups

if TYPE_CHECKING:
    from harness.data.assets import Asset
    from harness.engine.models import ModelChoice
    from harness.interfaces.types import TaskSpec


def _protocols() -> dict[str, list[TaskSpec]]:
    """Protocols by name, each with the tasks that name it."""
    from harness.interfaces.types import TaskSpec
    from harness.sets import FILES

    found: dict[str, list[TaskSpec]] = {}
    for spec in [*TASKS.ask(lambda task: TaskSpec.model_validate(task.spec)).values(), FILES]:
        for name in spec.protocols:
            found.setdefault(name, []).append(spec)
    return found


def _protocol(name: str, specs: list[TaskSpec]) -> dict[str, Any]:
    from harness.engine import protocols

    found = {spec.name: protocols.find(name, spec) for spec in specs}
    first = next(iter(found.values()))
    tasks = {
        task: {"digest": protocol.digest, "settings": protocol.settings}
        for task, protocol in found.items()
    }
    return {
        "protocol": name,
        "title": first.title,
        "description": first.description,
        "tasks": tasks,
    }


def _record(path: Path) -> dict[str, Any]:
    from harness.data.digests import Damaged, unsealed

    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        unsealed(record, path)
    except (ValueError, RecursionError) as error:
        raise Damaged(path, first_line(error)) from error
    return record


def _found(name: str) -> dict[str, dict[str, Any]]:
    """What is called so, by kind: a name may be a protocol's and a model's."""
    for record in (Path(name) / "record.json", Path(name)):
        # What is too long for a name is none of a file.
        if record.name == "record.json" and os.path.isfile(record):  # noqa: PTH113
            return {"run": _record(record)}
    if ":" in name and name in TASKS:
        return {"task": {"task": name, **TASKS.get(name).spec.model_dump(mode="json")}}
    if ":" in name or "?" in name:
        from harness.engine.models import ModelChoice

        if (choice := ModelChoice.parse(name)).name in MODELS:
            try:
                return {"card": _card(choice)}
            except UserError as no_model:
                raise _nearer(name, no_model) from None
    question = f"show {name}"
    if MODELS.spelled(name) in MODELS:
        import PIL

        question += f" with Pillow {PIL.__version__}"  # It is part of what is told of a codec.
    found: dict[str, dict[str, Any]] = remembered(question, lambda: _described(name))
    return found


def _nearer(name: str, no_model: UserError) -> UserError:
    """What is wrong with 'PREFIX:NAME', which tasks and models may have in common.

    It is said of the model only where no task is as near.
    """
    try:
        TASKS.prefixed(name)
    except UserError as no_task:
        if _likeness(no_task) >= _likeness(no_model):
            return no_task
    return no_model


def _likeness(error: UserError) -> float:
    return error.likeness if isinstance(error, UnknownName) else 1.0


def _described(name: str) -> dict[str, dict[str, Any]]:
    """Everything of this name, by kind; in another case if only one name fits."""
    from harness.data.assets import ASSETS
    from harness.engine.presets import all_presets, describe

    groups, by_protocol, presets = task_groups(), _protocols(), all_presets()
    kinds: dict[str, tuple[Collection[str], Callable[[], dict[str, Any]]]] = {
        "task": (
            TASKS.names(),
            lambda: {"task": name, **TASKS.get(name).spec.model_dump(mode="json")},
        ),
        "group": (groups, lambda: {"group": name, "tasks": groups[name]}),
        "protocol": (by_protocol, lambda: _protocol(name, by_protocol[name])),
        "asset": (ASSETS, lambda: _asset(ASSETS[name])),
        "model": (MODELS.names(), lambda: _model(name)),
        "metric": (METRICS.names(), lambda: _metric(name)),
        "preset": (presets, lambda: describe(name, presets[name])),
    }
    found = {kind: facts() for kind, (names, facts) in kinds.items() if name in names}
    if not found:
        known = [each for names, _ in kinds.values() for each in names]
        alike = {each for each in known if each.lower() == name.lower()}
        if len(alike) == 1:
            return _described(alike.pop())
        raise UserError(f"nothing is called {name!r}: {did_you_mean(name, known)}")
    return found


def _asset(asset: Asset) -> dict[str, Any]:
    return {key: getattr(asset, key) for key in asset.__slots__} | {"variable": asset.variable}


def _plugin(registry: Registry[Any], name: str) -> dict[str, Any]:
    plugin = registry.get(name)
    owner = plugin if hasattr(plugin, "__name__") else type(plugin)
    return {
        registry.noun: name,
        "from": f"{owner.__module__}.{owner.__qualname__}",
        "about": inspect.cleandoc(owner.__doc__ or ""),
    }


def _metric(name: str) -> dict[str, Any]:
    from harness.data.assets import ASSETS
    from harness.sets import FILES

    metric, form, plugin = METRICS.get(name), label(name), _plugin(METRICS, name)
    # Files say by a metric's name or title who uses them; metrics of one extractor need the same.
    needs = METRICS.ask(lambda each: set(each.needs))
    alike = {each for each, its in needs.items() if its & needs[name]}
    alike |= {label(each).title for each in alike}
    showing = TASKS.ask(lambda task: name in task.spec.metrics)
    tasks = [task for task, shows in showing.items() if shows]
    return {
        "metric": name,
        "title": form.title,
        "better": {True: "higher", False: "lower", None: "neither"}[metric.higher_is_better],
        "unit": unit_of(metric) or "none",
        "extractors": list(metric.needs),
        "assets": [key for key, it in ASSETS.items() if alike & set(it.used_by.split(", "))],
        "shown by default": tasks + ["uwt-eval metrics"] * (name in FILES.metrics),
        "from": plugin["from"],
        "about": form.about or plugin["about"].partition("\n\nArgs:")[0],
    }


def _model(name: str) -> dict[str, Any]:
    from harness.engine.models import ModelChoice, describe as describe_model

    described = _plugin(MODELS, name) | describe_model(name)
    if all("default" in option for option in described["options"].values()):
        described["card"] = _card(ModelChoice.parse(name))
    return described


def _card(choice: ModelChoice) -> dict[str, Any]:
    """What is known of a model as `--model` names it, before it is loaded."""
    from harness.engine.models import fitting_tasks, require

    model = choice.build()
    require(model, choice.name, (), "uwt-eval show")
    card = choice.card(model)
    facts = card.model_dump(mode="json", exclude_defaults=True, exclude={"label"})
    return {
        "model": card.title,
        **facts,
        **({"of a 256x256 image": card.stated} if card.stated else {}),
        "digest": card.digest,
        "best batch": getattr(model, "best_batch", None) or "64, or what --batch-size says",
        "several threads at a time": bool(getattr(model, "concurrent", False)),
        "tasks that fit": fitting_tasks(type(model)),
    }


def _print(console: Console, value: Any, indent: int = 0) -> None:
    for key, item in value.items():
        if isinstance(item, dict):
            console.print(
                f"{' ' * indent}{key}:", style="bold" if indent == 0 else "", markup=False
            )
            _print(console, item, indent + 2)
        elif isinstance(item, list):
            console.print(
                f"{' ' * indent}{key}: {', '.join(map(str, item)) or 'none'}", markup=False
            )
        else:
            text = str(item).lower() if isinstance(item, bool) else str(item).strip()
            text = text.replace("\n", "\n" + " " * (indent + 2))
            console.print(f"{' ' * indent}{key}: {text}", markup=False)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return "" if value is None else str(value)


def _results(published: dict[str, Any] | None) -> list[str]:
    """Published results as they are printed, a row a line."""
    from harness.commands.console import label

    lines = []
    for row in published["results"] if published else ():
        numbers = ", ".join(
            f"{label(metric).title} {label(metric).text(value)}"
            for metric, value in row["values"].items()
        )
        lines.append(f"{row['label']}, {row['source']}: {numbers}")
    return lines


def _print_preset(console: Console, facts: dict[str, Any]) -> None:
    console.print(f"{facts['preset']}: {facts['title']}", style="bold", markup=False)
    console.print(facts["source"], style="dim", markup=False)
    published = facts["published"]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("setting")
    if published:
        table.add_column(f"{published['label']}, {published['source']}", overflow="fold")
    table.add_column("preset", overflow="fold")
    for setting in facts["settings"]:
        mark = "  ≠" if setting["differs"] else ""
        sides = [_text(setting["published"])] if published else []
        row = [setting["name"], *sides, _text(setting["preset"]) + mark]
        table.add_row(*map(escape, row), style="bold yellow" if mark else "")
    console.print(table)
    for name in facts["needs"]:
        console.print(f"needs --set {name}=…", style="bold", markup=False)
    for note in facts["notes"]:
        console.print(f"- {note}", markup=False)
    # Metrics, which say how they are headed, are imported where that is not known yet.
    for line in remembered(f"results of {facts['preset']}", lambda: _results(published)):
        console.print(line, style="dim", markup=False)
    console.print("All settings, with those no publication names: --json", style="dim")


def show(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A task, protocol, model, metric, asset, preset or run; NAME:ARGUMENT for the "
            "card of one model."
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of result records.")
    ] = False,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Show everything about one name, or the schema of results.

    Where several kinds of things have the name, each stands under its heading; of --json each is
    the value of its kind.
    """
    load_plugins(plugin)
    if schema:
        from harness.interfaces.types import ResultRecord

        print(json.dumps(ResultRecord.model_json_schema(mode="serialization"), indent=2))
        return
    if name is None:
        raise UserError("give a name, see `uwt-eval list`, or --schema")
    found = _found(name)
    several = len(found) > 1
    if as_json:
        print(json_text(found if several else next(iter(found.values()))))
        return
    for kind, facts in found.items():
        if several:
            title = f"# The {kind} {facts.get(kind, name)}\n"
            terminal(highlight=False).print(title, style="bold", markup=False)
        if kind == "preset":
            _print_preset(terminal(highlight=False), facts)
        else:
            _print(terminal(soft_wrap=True, highlight=False), facts)
        if several:
            print()
