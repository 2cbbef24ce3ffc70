"""Any task of lmms-eval's as one of ours, `lmms:NAME`: its description, its figures, the list."""

from __future__ import annotations

from pathlib import Path

from harness.interfaces import Label
from harness.interfaces.errors import UserError, did_you_mean
from harness.interfaces.own import remembered
from harness.interfaces.types import TaskSpec
from tasks.vqa.lmms_files import catalogue, tasks_folder
from tasks.vqa.metrics import LmmsFigure
from tasks.vqa.performing import LmmsTask
from tasks.vqa.protocol import installed_version
from tasks.vqa.suites import PREFIX, suite_named

_DRAWS = {"TextToImage": "draws", "ImageEditor": "edits"}


def task(name: str) -> LmmsTask:
    """A task, group or tag of lmms-eval's; raise `UserError` where none can be asked."""
    suite = suite_named(PREFIX + name)
    several = f", {len(suite.tasks)} tasks together" if len(suite.tasks) > 1 else ""
    spec = TaskSpec(
        name=suite.name,
        version=1,
        title=f"{name}: as lmms-eval asks and scores it{several}",
        kind="lmms",
        interface=suite.tasks[0].interface,
        dataset=suite.data,
        layout="from the hub, or a local copy",
        metrics=tuple(PREFIX + figure for figure in catalogue().figures(name)),
        protocols=("lmms",),
    )
    return LmmsTask(suite, spec)


def metric(name: str) -> LmmsFigure:
    """A figure, 'TASK/METRIC' or 'TASK/METRIC/FILTER'; raise `UserError` where there is none."""
    owner, _, figure = name.partition("/")
    known = catalogue().figures(owner)
    if name not in known:
        raise UserError(f"unknown metric {PREFIX + name!r}: {did_you_mean(name, known)}")
    return LmmsFigure(PREFIX + name, known[name], Label(figure.replace("/", " "), 4))


def listing() -> dict[str, str]:
    """Every name with what is asked, of which data, what that needs, whether the data are here."""
    # Reading the code of all scorers takes seconds.
    stamp = f"{installed_version()} in {tasks_folder()}"
    facts: dict[str, list[str]] = remembered(f"list lmms {stamp}", _facts)
    here = _cached_datasets()
    found: dict[str, str] = {}
    for name, (text, *datasets) in facts.items():
        owned = bool(datasets) and all(each.partition(":")[0] in here for each in datasets)
        found[PREFIX + name] = text + ("; data here" if owned else "")
    return found


def _facts() -> dict[str, list[str]]:
    return {name: _fact(name) for name in catalogue().names()}


def _fact(name: str) -> list[str]:
    """A line about a task, and its data sets."""
    try:
        suite = suite_named(PREFIX + name)
    except UserError as error:
        return [f"refused: {str(error).partition('cannot be run: ')[2] or error}"]
    tasks = suite.tasks
    data = list(dict.fromkeys(each.dataset for each in tasks))
    more = f" and {len(data) - 1} more" if len(data) > 1 else ""
    parts = [f"{_DRAWS.get(tasks[0].interface, 'answers')}: {data[0]}{more}"]
    if len(tasks) > 1:
        parts.append(f"{len(tasks)} tasks")
    if keys := sorted({key for each in tasks for key in each.code.keys}):
        parts.append(f"a judge's {' or '.join(keys)}")
    if packages := sorted({package for each in tasks for package in each.packages}):
        parts.append(f"needs {', '.join(packages)}")
    if any((each.settings.get("dataset_kwargs") or {}).get("video") for each in tasks):
        parts.append("videos")
    return ["; ".join(parts), *data]


def _cached_datasets() -> set[str]:
    """Data sets of the Hugging Face cache, by the hub's name."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    start = "datasets--"
    found = folder.glob(f"{start}*") if folder.is_dir() else ()
    return {path.name.removeprefix(start).replace("--", "/") for path in found}
