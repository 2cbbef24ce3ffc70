"""Tasks as they are handed to lmms-eval's evaluator: where the data lie, what groups hold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_eval.utils import load_yaml_config

from harness.data.tables import arrow_cache
from harness.interfaces.errors import UserError
from tasks.vqa.figures import guarded
from tasks.vqa.job import Job
from tasks.vqa.lmms_files import TaskFile, catalogue
from tasks.vqa.local_data import LocalCopy
from tasks.vqa.needs import columns_of, fault_in
from tasks.vqa.pictures import PicturesById, opened_late, pending
from tasks.vqa.protocol import causes, first_cause
from tasks.vqa.suites import SUITES, Suite

if TYPE_CHECKING:
    from datasets import Dataset

GQA_IMAGES = "testdev_balanced_images"
"""The hub's subset with GQA's pictures, which lie apart from its questions."""


def arranged(name: str, changed: Mapping[str, Any]) -> list[Any]:
    """A task, or a group as its file arranges it, of tasks with what is changed of them."""
    if name in changed:
        return [changed[name]]
    path, group = catalogue().groups[name]
    if path is None:
        return [each for member in group["task"] for each in arranged(member, changed)]
    return [_group(load_yaml_config(str(path), mode="full"), changed)]


def _group(group: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    members = [
        each
        for member in group["task"]
        for each in (
            [_group(member, changed)] if isinstance(member, dict) else arranged(member, changed)
        )
    ]
    return {**group, "task": members}


def overrides(job: Job, suite: Suite, file: TaskFile, config: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the task file: where the data are, and that pictures open late."""
    from huggingface_hub import get_token

    copy = job.copies.get(file.name)
    changes: dict[str, Any] = {}
    if copy is not None:
        changes = copy.overrides(file.split)
        if not config.get("num_fewshot"):
            changes["fewshot_config"] = None  # The split of the examples may not be there.
        # lmms-eval makes the folder at home otherwise, whether it needs it or not.
        os.environ["LMMS_EVAL_DATASETS_CACHE"] = arrow_cache(map(Path, copy.files))
    elif get_token() is None:
        # The task files ask for a login that public data sets do not need.
        kwargs = dict(config.get("dataset_kwargs") or {})
        kwargs.pop("token", None)
        changes = {"dataset_kwargs": kwargs}
    root = copy.root if copy else ""
    if suite.tasks:
        own, open_late = config.get("process_docs"), opened_late(root)
        changes["process_docs"] = lambda docs: open_late(own(docs) if own else docs)
        if callable(score := config.get("process_results")):
            changes["process_results"] = guarded(score)
        return changes
    by_id = (lambda: PicturesById(_gqa_images(copy))) if suite.name == "gqa" else None
    prepare = pending(suite.images, root, by_id)

    def checked(dataset: Dataset) -> Dataset:
        _check_columns(file.name, copy, suite, dataset.column_names)
        texts = [name for name in dataset.column_names if name in columns_of(suite)]
        asked = dataset.select(range(min(len(dataset), job.limit or len(dataset))))
        if fault := fault_in(suite, asked.select_columns(texts)):
            raise UserError(f"{suite.name}: {_place(copy, suite)}, {fault}")
        return prepare(dataset)

    return {**changes, "process_docs": checked}


def _check_columns(task: str, copy: LocalCopy | None, suite: Suite, there: Sequence[str]) -> None:
    """Refuse data without what is read: a task file would say no more than KeyError."""
    absent = suite.absent(there)
    if task == "vqav2_val" and "answers" not in there:
        absent.append("answers")  # Those of the test split are not public.
    if absent:
        raise UserError(
            f"{suite.name}: {_place(copy, suite)} has no column {absent[0]!r}, which "
            f"{suite.title}'s questions have: give --data a copy of "
            f"{suite.data.replace(':', ', subset ')}"
        )


def _place(copy: LocalCopy | None, suite: Suite) -> str:
    """Where the questions are."""
    if copy is None:
        return suite.hub
    return copy.files[0] if len(copy.files) == 1 else copy.root or copy.path


def _gqa_images(copy: LocalCopy | None) -> Any:
    from datasets import disable_progress_bars, load_dataset

    if copy is None:
        return load_dataset(SUITES["gqa"].hub, GQA_IMAGES, split="testdev")
    if not copy.images:
        raise UserError(
            "gqa: the questions have no column 'image', and no parquet files of "
            f"{GQA_IMAGES} lie beside them"
        )
    disable_progress_bars()
    files = {"testdev": list(copy.images)}
    cache = arrow_cache(map(Path, copy.images))
    return load_dataset("parquet", data_files=files, split="testdev", cache_dir=cache)


def no_data(job: Job, suite: Suite, error: Exception) -> str:
    """Why lmms-eval has no questions, and what to do."""
    *_, first = causes(error)
    if isinstance(first, UserError):  # What `overrides` refuses comes back wrapped.
        return str(first)
    why = first_cause(error)
    if job.copies:
        there = ", ".join(_place(copy, suite) for copy in job.copies.values())
        return f"{suite.name}: {there} cannot be used as lmms-eval's data: {why}"
    local = "give --data a local copy (see docs/vqa.md)"
    hub = " or ".join(dict.fromkeys(task.dataset for task in suite.tasks)) or suite.hub
    offline = any(os.environ.get(name) == "1" for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))
    if offline:
        return (
            f"{suite.name}: {hub} is not in the Hugging Face cache and this run is offline: {local}"
        )
    if any(word in why for word in ("Gated", "401", "403", "token", "authenticated")):
        return (
            f"{suite.name}: {hub} needs a login or consent to its terms: open "
            f"https://huggingface.co/datasets/{hub}, then `hf auth login`, or {local} ({why})"
        )
    return f"{suite.name}: {hub} cannot be read: {why}; check the network, or {local}"
