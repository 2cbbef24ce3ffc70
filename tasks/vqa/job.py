"""One suite's work as it is handed to the process that runs lmms-eval."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.interfaces.types import Stage, digest_of
from tasks.vqa.local_data import LocalCopy
from tasks.vqa.protocol import VqaSettings


@dataclass(frozen=True, kw_only=True)
class Job:
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
        """Replies so far."""
        return self.folder / "lmms-eval" / "journal.jsonl"

    @property
    def log(self) -> Path:
        """What lmms-eval printed."""
        return self.folder / "lmms-eval" / "log.txt"

    @property
    def facts(self) -> Path:
        """lmms-eval's own results and configuration."""
        return self.folder / "lmms-eval" / "results.json"

    @property
    def digest(self) -> str:
        """SHA-256 of all that the rows depend on but the pictures' content on the hub."""
        scoring = {name for name, at in self.settings.stages().items() if at is Stage.SCORE}
        content = asdict(self) | {"settings": self.settings.model_dump(exclude=scoring)}
        for name in ("root", "device", "batch_size", "plugins", "model"):
            del content[name]
        return digest_of(content)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self) | {"settings": self.settings.model_dump()})

    @classmethod
    def of_json(cls, line: str) -> Job:
        """The job that `to_json` wrote."""
        content: dict[str, Any] = json.loads(line)
        if content["data"] is not None:
            copy = content["data"]
            lists = {name: tuple(copy[name]) for name in ("files", "images")}
            sizes = tuple(tuple(item) for item in copy["sizes"])
            content["data"] = LocalCopy(**{**copy, **lists, "sizes": sizes})
        content["settings"] = VqaSettings.model_validate(content["settings"])
        return cls(**{**content, "plugins": tuple(content["plugins"])})
