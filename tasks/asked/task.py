"""Tasks whose pictures are asked about: one class, and a description for each benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.protocols import FiledTask
from harness.interfaces.errors import UserError
from harness.interfaces.types import Protocol, TaskSpec
from tasks import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from harness.interfaces import Marked, ObservedRows
    from tasks.asked.data import AskedData
    from tasks.asked.items import Benchmark


def spec(
    name: str,
    title: str,
    *,
    dataset: str,
    layout: str,
    metrics: Sequence[str],
    protocols: Sequence[str],
) -> TaskSpec:
    """The description of such a task."""
    return TaskSpec(
        name=name,
        version=1,
        title=title,
        kind="asked",
        interface=("TextToImage", "ImageFiles"),
        dataset=dataset,
        layout=layout,
        metrics=tuple(metrics),
        protocols=tuple(protocols),
    )


class AskedTask(FiledTask):
    """Draw every prompt, put its questions to a model that sees the picture, score the answers.

    Args:
        spec: The task's description.
        benchmark: Its data's layout and its questions.
    """

    def __init__(self, spec: TaskSpec, benchmark: Benchmark) -> None:
        super().__init__(spec, PROTOCOLS)
        self._benchmark = benchmark

    def open(self, data: str | None, protocol: Protocol) -> AskedData:
        """The prompts at `data`; without them, prompts of scenes of our own."""
        from tasks.asked.data import open_data

        each = self.settings(protocol).images_per_prompt
        return open_data(data, self._benchmark, each, self.spec.title)

    def read_observations(
        self, path: Path, protocol: Protocol, questions: Path | None
    ) -> ObservedRows:
        """Score a file of scores as GenEval 2's script writes it."""
        from tasks.asked.observed import read_observations

        if questions is None:
            raise UserError(f"scores need their prompts: give --questions with {self.spec.layout}")
        each = self.settings(protocol).images_per_prompt
        return read_observations(path, self._benchmark.read(questions), each)

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write the gallery of pictures that were judged elsewhere."""
        from tasks.asked.data import conclude

        names = rows["id"].str.rpartition("/")[0]
        conclude(root, rows, self.spec.title, dict(zip(names, rows["prompt"], strict=True)))

    def marks(self, protocol: Protocol, device: str) -> list[Marked]:
        """What the protocol's model says of drawings whose truth is known."""
        from tasks.asked.marks import judged
        from tasks.shared.asking import open_answering

        settings = self.settings(protocol)
        soft = settings.scoring == "soft"
        vqa = open_answering(settings.vqa, device, soft=soft)
        vqa.preflight()
        return judged(self._benchmark, vqa, soft=soft)
