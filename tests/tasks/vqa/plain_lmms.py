"""lmms-eval alone, on stored replies: `python plain_lmms.py WANTED.json OUT.json`.

What is wanted are, by name, replies by task and place, and the data set of every task.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmms_eval
from datasets import Dataset, DatasetDict
from lmms_eval.api.model import lmms
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager

from tests.tasks.vqa.lmms_copies import HUB

FOLDERS = ("mmstar", "pope", "refspatial", "docvqa", "ocrbench", "WISE", "imgedit")
"""Where the tasks' files lie: to read all of lmms-eval's takes ten times as long."""


class Repeats(lmms):
    """Replies as it is told."""

    def __init__(self, replies: dict[str, list[str]]) -> None:
        super().__init__()
        self._replies = replies

    def generate_until(self, requests: Any) -> list[str]:
        return [self._replies[task][place] for *_, place, task, _ in (r.args for r in requests)]

    def loglikelihood(self, requests: Any) -> Any:
        raise NotImplementedError

    def generate_until_multi_round(self, requests: Any) -> Any:
        raise NotImplementedError


def main() -> None:
    """Evaluate every task or group with the data of its own files, and write all results."""
    wanted, out = map(Path, sys.argv[1:])
    folder = out.parent / "plain"
    for name, splits in HUB.items():
        made = {split: Dataset.from_list(rows) for split, rows in splits.items()}
        DatasetDict(made).save_to_disk(str(folder / name))
    tasks = Path(lmms_eval.__file__).parent / "tasks"
    folders = [str(tasks / name) for name in FOLDERS]
    manager = TaskManager("WARNING", include_path=folders, include_defaults=False)
    found = {}
    for name, asked in json.loads(wanted.read_text()).items():
        local = {"dataset_name": None, "dataset_kwargs": {"load_from_disk": True}}
        local |= {"dataset_path": str(folder / asked["data"])}
        results = simple_evaluate(
            model=Repeats(asked["replies"]),
            tasks=[{"task": name, **local}],
            task_manager=manager,
            bootstrap_iters=0,
            cli_args=SimpleNamespace(output_path=str(out.parent), process_with_media=True),
        )
        found[name] = results["results"]
    out.write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
