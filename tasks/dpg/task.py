"""DPG-Bench as a task: draw four pictures of every prompt, ask about each, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.protocols import FiledTask
from harness.interfaces.types import Protocol, TaskSpec
from tasks import PROTOCOLS

if TYPE_CHECKING:
    import pandas as pd

    from harness.interfaces import Marked, ObservedRows
    from tasks.dpg.data import DpgData


class DpgTask(FiledTask):
    """DPG-Bench.

    Args:
        spec: The task's description.
    """

    def open(self, data: str | None, protocol: Protocol) -> DpgData:
        """The questions at `data`; without them the published prompts, or the small file."""
        from tasks.dpg.data import open_data

        return open_data(data, self.settings(protocol), self.spec.title)

    def read_observations(
        self, path: Path, protocol: Protocol, questions: Path | None
    ) -> ObservedRows:
        """Score the pictures of a file of answers."""
        from harness.interfaces.errors import UserError
        from tasks.dpg.answers import read_observations

        if questions is None:
            raise UserError(
                "answers need their questions: give --questions with DPG-Bench's dpg_bench.csv or "
                "the questions.jsonl of a run"
            )
        return read_observations(path, questions, self.settings(protocol))

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write the fine categories' scores, and the gallery where pictures were given."""
        from tasks.dpg.data import conclude, write_categories

        if (root / "images").is_dir():
            names = rows["id"].str.rpartition("/")[0]
            conclude(root, rows, self.spec.title, {name: name for name in names})
        else:
            write_categories(root, rows)

    def marks(self, protocol: Protocol, device: str) -> list[Marked]:
        """What the protocol's model says of drawings whose truth is known, where it runs here."""
        from harness.interfaces.errors import UserError
        from tasks.asked.geneval2 import BENCHMARK
        from tasks.asked.marks import judged
        from tasks.dpg.settings import ElsewhereVqa
        from tasks.dpg.vqa import open_vqa

        chosen = self.settings(protocol).vqa
        if isinstance(chosen, ElsewhereVqa):
            raise UserError(
                f"protocol {protocol.name!r}: its model answers elsewhere; give --protocol dpg-vlm"
            )
        vqa = open_vqa(chosen, device)
        vqa.preflight()
        return judged(BENCHMARK, vqa, soft=False, without="count")  # None but yes or no is asked.


DPG = DpgTask(
    TaskSpec(
        name="dpg",
        version=1,
        title="DPG-Bench: every sentence of dense prompts, asked about in generated pictures",
        kind="dpg",
        interface=("TextToImage", "ImageFiles"),
        dataset="DPG-Bench's 1,065 prompts, four pictures each",
        layout="DPG-Bench's dpg_bench.csv",
        metrics=("global", "entity", "attribute", "relation", "other", "dpg_overall"),
        protocols=("dpg", "dpg-official", "dpg-vlm"),
        groups=("table11",),
    ),
    PROTOCOLS,
)
