"""GenEval as tasks: draw four pictures of every prompt, detect, judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.protocols import FiledTask
from harness.interfaces.types import Protocol, TaskSpec
from tasks import PROTOCOLS

if TYPE_CHECKING:
    import pandas as pd

    from harness.interfaces import ObservedRows
    from tasks.geneval.data import GenEvalData


class GenEvalTask(FiledTask):
    """GenEval with one of its prompt files.

    Args:
        spec: The task's description.
        asset: The published prompt file.
    """

    def __init__(self, spec: TaskSpec, asset: str) -> None:
        super().__init__(spec, PROTOCOLS)
        self._asset = asset

    def open(self, data: str | None, protocol: Protocol) -> GenEvalData:
        """The prompts at `data`, the published ones, or the small file that ships."""
        from tasks.geneval.data import GenEvalData
        from tasks.geneval.prompts import open_prompts

        return GenEvalData(
            open_prompts(data, self._asset), self.settings(protocol), self.spec.title
        )

    def read_observations(
        self, path: Path, protocol: Protocol, questions: Path | None
    ) -> ObservedRows:
        """Judge the pictures of a file of detections."""
        from tasks.geneval.observations import read_observations

        self.refuse_questions(questions)
        return read_observations(path, self.settings(protocol))

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write the gallery of a file's pictures, where they were given."""
        import json

        from tasks.geneval.data import conclude

        if (root / "images").is_dir():
            names = rows["id"].str.rpartition("/")[0]
            prompts = {
                name: json.loads(metadata)["prompt"]
                for name, metadata in zip(names, rows["metadata"], strict=True)
            }
            conclude(root, rows, self.spec.title, prompts)


_LAYOUT = "a file of GenEval's metadata, one JSON object a line"
_METRICS = (
    "single_object",
    "two_object",
    "counting",
    "colors",
    "position",
    "color_attribution",
    "geneval_overall",
)

GENEVAL = GenEvalTask(
    TaskSpec(
        name="geneval",
        version=1,
        title="GenEval: objects, numbers, colours and places in generated pictures",
        kind="geneval",
        interface=("TextToImage", "ImageFiles"),
        dataset="GenEval's 553 prompts, four pictures each",
        layout=_LAYOUT,
        metrics=_METRICS,
        protocols=("geneval", "geneval-hf"),
        groups=("table11",),
    ),
    asset="geneval-prompts",
)

GENEVAL_LONG = GenEvalTask(
    GENEVAL.spec.model_copy(
        update={
            "name": "geneval-long",
            "title": "GenEval with its prompts rewritten at length, as BitDance evaluates it",
            "dataset": "GenEval's 553 prompts rewritten by a language model, four pictures each",
            "groups": (),
        }
    ),
    asset="geneval-prompts-long",
)
