"""GEdit-Bench as tasks: edit every original as its instruction says, have the edits judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.interfaces.errors import UserError
from harness.interfaces.types import Protocol, TaskSpec
from tasks.gedit.edits import LAYOUT
from tasks.shared.task import FiledTask

if TYPE_CHECKING:
    import pandas as pd

    from harness.interfaces import ObservedRows
    from tasks.gedit.data import GEditData


class GEditTask(FiledTask):
    """GEdit-Bench in one language.

    Args:
        spec: The task's description.
        language: 'en' or 'cn'; where None, it is the one of a file of judgements.
    """

    def __init__(self, spec: TaskSpec, language: str | None) -> None:
        super().__init__(spec)
        self._language = language

    def open(self, data: str | None, protocol: Protocol) -> GEditData:
        """The edits at `data`, at the configured place, or from the hub."""
        from tasks.gedit.data import GEditData
        from tasks.gedit.source import open_gedit

        if self._language is None:
            raise UserError("task 'gedit' only scores files: run gedit-en or gedit-cn")
        source = open_gedit(data, self._language)
        label = f"GEdit-Bench {self._language}"
        return GEditData(source, self.settings(protocol), self.spec.title, label)

    def read_observations(
        self, path: Path, protocol: Protocol, questions: Path | None
    ) -> ObservedRows:
        """Score a file of a judge's replies, or of scores."""
        from tasks.gedit.observed import read_observations

        self.refuse_questions(questions)
        return read_observations(path, self.settings(protocol), self._language)

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write the groups' figures and the gallery of a file's judgements."""
        from tasks.gedit.conclusion import conclude

        instructions = dict(zip(rows["id"], rows["instruction"], strict=True))
        conclude(root, rows, self.spec.title, instructions)


def _spec(name: str, title: str, dataset: str, *groups: str) -> TaskSpec:
    return TaskSpec(
        name=name,
        version=2,
        title=title,
        kind="edit",
        interface=("ImageEditor", "ImageFiles"),
        dataset=dataset,
        layout=LAYOUT,
        metrics=(
            "semantics",
            "quality",
            "gedit_overall",
            "semantics_intersection",
            "quality_intersection",
            "gedit_overall_intersection",
        ),
        protocols=("gedit", "gedit-official"),
        groups=groups,
    )


GEDIT_EN = GEditTask(
    _spec(
        "gedit-en",
        "GEdit-Bench: images edited as English instructions say",
        "GEdit-Bench's 606 edits asked for in English",
        "table13",
    ),
    language="en",
)
GEDIT_CN = GEditTask(
    _spec(
        "gedit-cn",
        "GEdit-Bench: images edited as Chinese instructions say",
        "GEdit-Bench's 606 edits asked for in Chinese",
        "table13",
    ),
    language="cn",
)
GEDIT = GEditTask(
    _spec(
        "gedit",
        "GEdit-Bench: a file of judgements in one language",
        "GEdit-Bench's 606 edits of one language, judged elsewhere",
    ),
    language=None,
)
