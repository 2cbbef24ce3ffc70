"""lmms-eval's tasks as its files describe them: read as text, none of its code is run."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.interfaces.errors import UnknownName, UserError
from tasks.vqa.lmms_code import Function, Reached, reached, shows_nothing
from tasks.vqa.protocol import EXTRA

T = TypeVar("T")

_SCORING = ("process_results", "metric_list", "filter_list")
_PLAIN = "none"
"""What lmms-eval calls the filter of replies where a task has none."""


@dataclass(frozen=True)
class Figure:
    """One figure of a task: a metric of what one of its filters makes of replies."""

    metric: str
    filter: str
    place: int
    """The filter's, among the task's."""
    higher_is_better: bool | None

    @property
    def name(self) -> str:
        """'METRIC', or 'METRIC/FILTER'."""
        return figure_name(self.metric, self.filter)

    @property
    def key(self) -> str:
        """As lmms-eval's results have it."""
        return f"{self.metric},{self.filter}"


@dataclass(frozen=True)
class TaskFile:
    """One task: its settings, those of included files among them."""

    name: str
    path: Path
    settings: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """The hub's data set, and its subset after a colon where it has several."""
        path, subset = self.settings.get("dataset_path"), self.settings.get("dataset_name")
        return f"{path}:{subset}" if subset else str(path)

    @property
    def split(self) -> str:
        """The split whose questions are asked."""
        return str(self.settings.get("test_split") or self.settings.get("validation_split") or "")

    @functools.cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Those that it gives, of its first filter first."""
        listed = self.settings.get("metric_list") or [
            {"metric": "exact_match", "higher_is_better": True}
        ]
        filters = [each["name"] for each in self.settings.get("filter_list") or ()] or [_PLAIN]
        return tuple(
            Figure(each["metric"], name, place, each.get("higher_is_better"))
            for place, name in enumerate(filters)
            for each in listed
            if isinstance(each, Mapping) and isinstance(each.get("metric"), str)
        )

    @functools.cached_property
    def code(self) -> Reached:
        """What its scoring needs."""
        scoring = [self.settings.get(key) for key in _SCORING]
        return reached(frozenset(leaves(scoring, Function)))

    @property
    def missing_keys(self) -> list[str]:
        """Environment variables with a judge's key, where none of those that would do is set."""
        keys = sorted(self.code.keys)
        return [] if any(map(os.environ.get, keys)) else keys

    @functools.cached_property
    def packages(self) -> frozenset[str]:
        """What its code imports and is not installed here."""
        return reached(frozenset(leaves(self.settings, Function))).packages

    @property
    def interface(self) -> str:
        """What a model must offer."""
        if not self.code.draws:
            return "MultimodalLM"
        shown = self.settings.get("doc_to_visual")
        blind = isinstance(shown, Function) and shows_nothing(shown)
        return "TextToImage" if blind else "ImageEditor"

    @property
    def refusal(self) -> str:
        """Why no model can be asked here; empty where one can."""
        settings = self.settings.get("generation_kwargs") or {}
        kind = self.settings.get("output_type", "generate_until")
        if kind in {"loglikelihood", "multiple_choice"}:
            return "it compares likelihoods of given answers, and models here give replies alone"
        if kind != "generate_until":
            return f"it takes several turns ({kind}), and models here answer one question"
        if "class" in self.settings:
            return "it is written as a class of its own, not as a task file"
        if not (isinstance(self.settings.get("dataset_path"), str) and self.split and self.figures):
            return "its file names no data, split or metric"
        if self.code.draws:
            return ""
        heat = float(settings.get("temperature") or 0)
        if settings.get("do_sample") or heat > 0:
            return f"it samples replies at temperature {heat:g}, and models here reply greedily"
        if (settings.get("num_beams") or 1) > 1 or settings.get("repetition_penalty", 1) != 1:
            return "it asks for beams or a penalty of repetition, and models here reply greedily"
        return ""


def figure_name(metric: str, chosen: str) -> str:
    """How a metric of a filter is called; lmms-eval writes 'METRIC,FILTER'."""
    return metric if chosen == _PLAIN else f"{metric}/{chosen}"


def leaves(value: Any, kind: type[T]) -> Iterator[T]:
    """Give everything of a kind that is nested in mappings and lists."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(each, kind)


@dataclass
class Catalogue:
    """All tasks, groups and tags of the lmms-eval that is installed."""

    tasks: dict[str, TaskFile] = field(default_factory=dict)
    groups: dict[str, tuple[Path | None, Mapping[str, Any]]] = field(default_factory=dict)
    """File and settings of each group; a tag has no file, and nothing but members."""

    def __contains__(self, name: object) -> bool:
        return name in self.tasks or name in self.groups

    def members(self, name: str) -> list[TaskFile]:
        """The task of that name, or those of a group or tag, each once.

        Raises:
            UserError: There is no such task.
        """
        found: dict[str, TaskFile] = {}
        for each in self._members(name):
            found.setdefault(each.name, each)
        return list(found.values())

    def _members(self, name: str) -> Iterator[TaskFile]:
        if name in self.tasks:
            yield self.tasks[name]
        elif name in self.groups:
            yield from self._of_group(self.groups[name][1])
        else:
            raise UnknownName("lmms-eval has no task", name, self.names())

    def _of_group(self, group: Mapping[str, Any]) -> Iterator[TaskFile]:
        for each in group["task"]:
            yield from self._of_group(each) if isinstance(each, Mapping) else self._members(each)

    def own_figures(self, name: str) -> list[str]:
        """Figures of a group's tasks together, 'GROUP/METRIC' or 'GROUP/METRIC/FILTER'."""
        _, group = self.groups.get(name, (None, {}))
        listed = group.get("aggregate_metric_list") or []
        found = []
        for each in [listed] if isinstance(listed, Mapping) else listed:
            filters = each.get("filter_list", _PLAIN)
            for chosen in [filters] if isinstance(filters, str) else filters:
                found.append(f"{name}/{figure_name(each['metric'], chosen)}")
        return found

    def figures(self, name: str) -> dict[str, bool | None]:
        """All figures of a task or a group, a group's own first, and whether more is better."""
        of_tasks = {
            f"{task.name}/{figure.name}": figure.higher_is_better
            for task in self.members(name)
            for figure in task.figures
        }
        directions = {key.partition("/")[2]: up for key, up in of_tasks.items()}
        own = self.own_figures(name)
        return {key: directions.get(key.partition("/")[2]) for key in own} | of_tasks

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self.tasks, *self.groups})


def tasks_folder() -> Path:
    """Where lmms-eval's task files lie; raise `UserError` where it is not installed."""
    found = importlib.util.find_spec("lmms_eval")
    if found is None or not found.submodule_search_locations:
        raise UserError(f"lmms-eval is not installed, whose tasks these are: {EXTRA}")
    return Path(found.submodule_search_locations[0]) / "tasks"


@functools.cache
def catalogue() -> Catalogue:
    """Read all task files, in about a second; raise `UserError` where lmms-eval is missing."""
    found, tags = Catalogue(), dict[str, list[str]]()
    for path in sorted(tasks_folder().rglob("*.yaml")):
        try:
            settings = _settings(path)
        except (OSError, ValueError):  # lmms-eval cannot read it either.
            continue
        task = settings.get("task")
        if isinstance(task, list):
            found.groups[settings["group"]] = (path, settings)
        elif isinstance(task, str):
            found.tasks[task] = TaskFile(task, path, settings)
            for key in ("tag", "group"):
                named = settings.get(key) or ()
                for tag in [named] if isinstance(named, str) else named:
                    tags.setdefault(tag, []).append(task)
    for tag, members in tags.items():
        if tag not in found:
            found.groups[tag] = (None, {"task": members})
    return found


@functools.cache
def _settings(path: Path) -> dict[str, Any]:
    """A file's settings over those that it includes; raise `ValueError` for what is no YAML."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """Functions are not imported: they are named."""

    def function(loader: Any, node: Any) -> Function:
        module, _, name = loader.construct_scalar(node).rpartition(".")
        parts = module.split(".")
        absolute = parts[:2] == ["lmms_eval", "tasks"]
        place = tasks_folder().joinpath(*parts[2:]) if absolute else path.parent.joinpath(*parts)
        return Function(place.with_suffix(".py"), name)

    Loader.add_constructor("!function", function)
    try:
        own = yaml.load(path.read_bytes(), Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(own, dict):
        raise ValueError(f"{path} holds no settings")
    included = own.pop("include", None) or []
    settings: dict[str, Any] = {}
    for name in reversed([included] if isinstance(included, str) else included):
        settings |= _settings(Path(os.path.normpath(path.parent / name)))
    return settings | own
