"""One suite's work as it is handed to the process that runs lmms-eval, and where it lies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from harness.data.store import Store
from harness.interfaces.types import Record, Stage, Status, digest_of
from tasks.vqa.answers import Row, read_rows
from tasks.vqa.local_data import LocalCopy
from tasks.vqa.protocol import VqaSettings
from tasks.vqa.replies import Journal


class Job(Record):
    """Everything that the other process needs to know."""

    suite: str
    settings: VqaSettings
    model: str
    """As `--model` takes it."""
    model_digest: str
    plugins: tuple[str, ...]
    device: str
    batch_size: int
    limit: int | None
    data: LocalCopy | None
    root: str
    rank: int = 0
    """Which of the processes this one is that share the questions out."""
    size: int = 1
    """How many they are."""

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(self.root)

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
        return self.folder / "lmms-eval" / "journal.jsonl"

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
    def _mark(self) -> Path:
        """The digest of the job whose rows these are; written after them."""
        return self.facts.with_name("finished.json")

    @property
    def digest(self) -> str:
        """SHA-256 of all that the rows depend on but the pictures' content on the hub."""
        scoring = {name for name, at in self.settings.stages().items() if at is Stage.SCORE}
        elsewhere = {"root", "device", "batch_size", "plugins", "model", "settings", "rank", "size"}
        content = self.model_dump(exclude=elsewhere)
        return digest_of(content | {"settings": self.settings.model_dump(exclude=scoring)})

    @property
    def finished(self) -> bool:
        """Whether the rows are those of this very job, and nothing failed that may go better."""
        if not (self.result.is_file() and self._is_marked(self._mark)):
            return False
        return all(row.status is not Status.MODEL_ERROR for row in read_rows(self.result))

    def _is_marked(self, mark: Path) -> bool:
        if not mark.is_file():
            return False
        return bool(json.loads(mark.read_text(encoding="utf-8"))["job"] == self.digest)

    def join_journals(self) -> None:
        """Move what several processes have kept into the one journal; none of them is at work."""
        if others := sorted(self.journal.parent.glob("journal-*.jsonl")):
            Journal(self.journal).take_in(others)

    def start_anew(self, *, share: bool = True) -> None:
        """Forget rows of another job, then link those of a run beside this one, if it has them.

        Its protocol may differ in scoring only. Nothing is linked unless it is to `share`.
        """
        for path in (self.asked, self.result, self._mark):
            path.unlink(missing_ok=True)
        mark = self._mark.relative_to(self.folder)
        for found in sorted(self.folder.parent.glob(f"{self.suite}-*/{mark}")):
            if share and self._is_marked(found):
                names = (self.result, self.folder / "images", self.facts, self._mark)
                kept = [str(each.relative_to(self.folder)) for each in names]
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
