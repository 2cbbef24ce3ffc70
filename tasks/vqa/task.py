"""The eleven suites as tasks: run through lmms-eval, or scored from stored replies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.interfaces import ObservedRows
from harness.interfaces.types import Protocol, Status, TaskSpec
from tasks.vqa.performing import LmmsTask
from tasks.vqa.protocol import VqaSettings
from tasks.vqa.suites import SUITES

if TYPE_CHECKING:
    import pandas as pd

    from tasks.vqa.local_data import LocalCopy

SUBMISSION = "vqav2-submission.json"
"""The file that VQAv2's evaluation server takes."""


class VqaTask(LmmsTask):
    """One of the eleven suites, whose replies our own scorers understand too.

    Args:
        name: Its name.
        metrics: Its figures; the first ones stand in the paper's table.
        protocols: Named protocols; the first is the default.
    """

    def __init__(self, name: str, *metrics: str, protocols: tuple[str, ...] = ("lmms",)) -> None:
        suite = SUITES[name]
        spec = TaskSpec(
            name=suite.name,
            version=1,
            title=f"{suite.title}: questions about pictures",
            kind="vqa",
            interface="MultimodalLM",
            dataset=suite.size,
            layout=f"{suite.data.replace(':', ', subset ')}: from the hub, or a local copy",
            metrics=metrics,
            protocols=protocols,
            groups=("vqa", "table12"),
        )
        super().__init__(suite, spec)

    def read_observations(
        self, path: Path, protocol: Protocol, questions: Path | None
    ) -> ObservedRows:
        """Score stored replies with our own scorers: no model, no data, no lmms-eval."""
        from harness.data.digests import sha256_file
        from tasks.vqa.answers import observed
        from tasks.vqa.observations import read_replies

        settings = VqaSettings.of(protocol.settings)
        rows = read_replies(path, questions, self._suite, settings.reply_limit)
        identity = {"replies": sha256_file(path), "scores": "uwt-eval"}
        return observed(self._suite, rows, path.name, identity)

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write the page too, and VQAv2's submission where its answers are not public."""
        super().conclude(root, rows)
        if self.spec.name == "vqav2" and "score" in rows:
            replied = rows[rows["status"] == Status.OK]
            if len(replied) and replied["score"].isna().all():
                _write_submission(root, replied)

    def _copies(self, place: str, settings: Any) -> dict[str, LocalCopy]:
        from tasks.vqa.local_data import find_copy

        name = settings.lmms_task
        subset = self._suite.data.partition(":")[2]
        names = (self._suite.name, name)
        return {name: find_copy(Path(place).absolute(), names, subset, _SPLITS[name])}


_SPLITS = {
    "vqav2_val": "validation",
    "vqav2_test": "test",
    "textvqa_val": "validation",
    "mmmu_val": "validation",
    "gqa": "testdev",
    **dict.fromkeys(
        ("seedbench", "pope", "scienceqa_img", "chartqa", "ai2d", "realworldqa", "mme"), "test"
    ),
}
"""The split whose questions an lmms-eval task asks."""


def _write_submission(root: Path, rows: pd.DataFrame) -> None:
    from harness.data.store import Store

    entries = [
        {"question_id": int(number), "answer": answer}
        for number, answer in zip(rows["question_id"], rows["prediction"], strict=True)
    ]
    Store(root).write_json(SUBMISSION, entries)


SEEDBENCH = VqaTask("seedbench", "accuracy", "accuracy_all")
POPE = VqaTask("pope", "f1", "f1_split_mean", "accuracy")
VQAV2 = VqaTask("vqav2", "accuracy", protocols=("lmms", "lmms-test"))
GQA = VqaTask("gqa", "accuracy")
SCIENCEQA = VqaTask("scienceqa", "accuracy")
TEXTVQA = VqaTask("textvqa", "accuracy")
CHARTQA = VqaTask("chartqa", "accuracy", "accuracy_human", "accuracy_augmented")
AI2D = VqaTask("ai2d", "accuracy")
REALWORLDQA = VqaTask("realworldqa", "accuracy")
MMMU = VqaTask("mmmu", "accuracy", "accuracy_random")
MME = VqaTask("mme", "perception", "cognition", "total")
