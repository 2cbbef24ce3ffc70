"""GEdit-Bench as tasks: edit every original as its instruction says, have the edits judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.protocols import FiledTask
from harness.interfaces.errors import UserError
from harness.interfaces.types import Protocol, TaskSpec
from tasks import PROTOCOLS
from tasks.gedit.edits import LAYOUT

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
        super().__init__(spec, PROTOCOLS)
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
        from tasks.gedit.data import conclude

        instructions = dict(zip(rows["id"], rows["instruction"], strict=True))
        conclude(root, rows, self.spec.title, instructions)


def _task(name: str, title: str, dataset: str, language: str | None) -> GEditTask:
    figures = ("semantics", "quality", "gedit_overall")
    spec = TaskSpec(
        name=name,
        version=2,
        title=f"GEdit-Bench: {title}",
        kind="edit",
        interface=("ImageEditor", "ImageFiles"),
        dataset=f"GEdit-Bench's 606 edits {dataset}",
        layout=LAYOUT,
        metrics=(*figures, *(f"{figure}_intersection" for figure in figures)),
        protocols=("gedit", "gedit-official"),
        groups=("table13",) if language else (),
    )
    return GEditTask(spec, language)


GEDIT_EN, GEDIT_CN = (
    _task(
        f"gedit-{code}",
        f"images edited as {language} instructions say",
        f"asked for in {language}",
        code,
    )
    for code, language in (("en", "English"), ("cn", "Chinese"))
)
GEDIT = _task(
    "gedit", "a file of judgements in one language", "of one language, judged elsewhere", None
)
