"""One suite's work as it is handed to the process that runs lmms-eval, and where it lies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from harness.data.store import Store, link
from harness.interfaces.types import Record, Stage, Status, digest_of
from tasks.vqa.answers import Row, read_rows
from tasks.vqa.local_data import LocalCopy
from tasks.vqa.protocol import LmmsSettings, VqaSettings
from tasks.vqa.replies import Journal
from tasks.vqa.suites import SUITES, suite_named

_JOB = "lmms-eval/job.json"
JOURNAL = "lmms-eval/journal.jsonl"


class Job(Record):
    """Everything that the other process needs to know."""

    suite: str
    settings: VqaSettings | LmmsSettings
    model: str
    """As `--model` takes it."""
    model_digest: str
    plugins: tuple[str, ...]
    device: str
    batch_size: int
    limit: int | None
    copies: Mapping[str, LocalCopy] = {}
    """Local copies by lmms-eval's task; empty where the hub's are read."""
    place: str | None = None
    """What `--data` said."""
    root: str
    seed: int = 0
    """The run's: drawings and resampling begin from it."""
    draws: bool = False
    """Whether replies are pictures."""
    rank: int = 0
    """Which of the processes this one is that share the questions out."""
    size: int = 1
    """How many they are."""
    shard: int = 0
    """Which shard of the run they do."""
    shards: int = 1
    """How many shards there are."""
    answered: bool = False
    """Whether all replies are there, so that nothing but scoring is left."""

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(self.root)

    @property
    def label(self) -> str:
        """Name of the data for people."""
        return Path(self.place).name if self.place else suite_named(self.suite).data

    @property
    def tasks(self) -> tuple[str, ...]:
        """lmms-eval's tasks."""
        if isinstance(self.settings, VqaSettings):
            return (self.settings.lmms_task,)
        return tuple(task.name for task in suite_named(self.suite).tasks)

    @property
    def result(self) -> Path:
        """The finished rows."""
        return self.folder / "replies.jsonl"

    @property
    def asked(self) -> Path:
        """The questions, written before the first of them is asked."""
        return self.folder / "lmms-eval" / "asked.jsonl"

    @property
    def journal(self) -> Path:
        """Replies so far, of finished attempts and of one process that works alone."""
        return self.folder / JOURNAL

    @property
    def own_journal(self) -> Path:
        """Where this process keeps replies: a file that no other one writes to."""
        several = self.size > 1
        return self.journal.with_name(f"journal-{self.rank}.jsonl") if several else self.journal

    def answers(self, rank: int) -> Path:
        """What a process hands to the main one: all that came of its share."""
        return self.folder / "lmms-eval" / f"answers-{rank}.jsonl"

    @property
    def log(self) -> Path:
        """What lmms-eval printed."""
        number = f"-{self.rank}" if self.rank else ""
        return self.folder / "lmms-eval" / f"log{number}.txt"

    @property
    def facts(self) -> Path:
        """lmms-eval's own results and configuration."""
        return self.folder / "lmms-eval" / "results.json"

    @property
    def figures(self) -> Path:
        """lmms-eval's figures with their intervals, where it alone scores."""
        return self.facts.with_name("figures.json")

    @property
    def drawn(self) -> Path:
        """The pictures that replies name."""
        return self.folder / "drawn"

    @property
    def _mark(self) -> Path:
        """The digest of the job whose rows these are; written after them."""
        return self.facts.with_name("finished.json")

    @property
    def digest(self) -> str:
        """SHA-256 of all that the rows depend on but the pictures' content on the hub."""
        scoring = {name for name, at in self.settings.stages().items() if at is Stage.SCORE}
        elsewhere = {"root", "place", "device", "batch_size", "plugins", "model", "settings"}
        shares = {"rank", "size", "shard", "shards", "answered"}
        ours = {"seed", "draws"} if self.suite in SUITES else set()
        content = self.model_dump(exclude=elsewhere | shares | ours)
        return digest_of(content | {"settings": self.settings.model_dump(exclude=scoring)})

    @property
    def finished(self) -> bool:
        """Whether the rows are those of this very job, and nothing failed that may go better."""
        if not (self.result.is_file() and self._is_marked(self._mark)):
            return False
        return all(row.status is not Status.MODEL_ERROR for row in read_rows(self.result))

    @property
    def is_of_others(self) -> bool:
        """Whether the rows that are there are those of another job."""
        return self._mark.is_file() and not self._is_marked(self._mark)

    def _is_marked(self, mark: Path) -> bool:
        if not mark.is_file():
            return False
        return bool(json.loads(mark.read_text(encoding="utf-8"))["job"] == self.digest)

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The job that `keep` wrote there."""
        return cls.model_validate_json((folder / _JOB).read_text(encoding="utf-8"))

    def keep(self) -> None:
        """Write the job, for the shards to be merged."""
        Store(self.folder).write_text(_JOB, self.model_dump_json())

    def of_shards(self, shards: Sequence[Path]) -> None:
        """Start anew with the replies of shards."""
        self.start_anew(share=False)
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        for number, root in enumerate(shards):
            if (root / JOURNAL).is_file():
                link(root / JOURNAL, self.journal.with_name(f"journal-{number}.jsonl"))
            if (root / self.drawn.name).is_dir():
                Store(self.folder).adopt(root, [self.drawn.name])
        self.join_journals()

    def join_journals(self) -> None:
        """Move what several processes have kept into the one journal; none of them is at work."""
        if others := sorted(self.journal.parent.glob("journal-*.jsonl")):
            Journal(self.journal).take_in(others)

    def start_anew(self, *, share: bool = True) -> None:
        """Forget rows of another job, then link those of a run beside this one, if it has them.

        Its protocol may differ in scoring only. Nothing is linked unless it is to `share`.
        """
        for path in (self.asked, self.result, self.figures, self._mark):
            path.unlink(missing_ok=True)
        mark = self._mark.relative_to(self.folder)
        for found in sorted(self.folder.parent.glob(f"{self.suite.replace(':', '-')}-*/{mark}")):
            if share and self._is_marked(found):
                made = (self.result, self.folder / "images", self.drawn, self.facts, self.figures)
                kept = [str(each.relative_to(self.folder)) for each in (*made, self._mark)]
                Store(self.folder).adopt(found.parent.parent, kept)
                return

    def finish(self) -> None:
        """Say that all rows are written."""
        Store(self._mark.parent).write_json(self._mark.name, {"job": self.digest})

    def lost(self, error: str) -> list[Row]:
        """The questions of a suite that broke down; one stands for all where none was asked yet."""
        unknown = [Row(id="all questions", question="", document={})]
        rows = read_rows(self.asked) if self.asked.is_file() else unknown
        return [replace(row, status=Status.MODEL_ERROR, error=error) for row in rows]
