"""The doctor's own question: a row of POPE, made on the spot, through lmms-eval to a toy model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.doctor.finding import Finding
from harness.interfaces import Question
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard, Status
from tasks.vqa.protocol import EXTRA, VqaSettings, check_installed
from tasks.vqa.task import POPE

_TITLE = "lmms-eval question"
_PATIENCE = 120
"""Seconds, for a cold disk; a warm one needs about ten."""


class SaysYes:
    """A model that needs no picture."""

    card = ModelCard(name="says-yes")

    def load(self, device: str) -> None:
        """Nothing to load."""

    def reply(self, questions: Sequence[Question], **_: Any) -> list[str]:
        """Yes to every question."""
        return ["yes"] * len(questions)


def find() -> Iterator[Finding]:
    """Ask in a process of its own, so that a crash is a finding and no end of the doctor.

    Nothing is found where lmms-eval is not installed or of another series: the doctor's look at
    versions has said so.
    """
    try:
        check_installed(VqaSettings.of(POPE.protocol("lmms").settings).lmms_eval)
    except UserError:
        return
    with tempfile.TemporaryDirectory() as folder:
        local = {"HF_HOME": folder, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", __name__, folder],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
                env={**os.environ, **local},
            )
        except subprocess.TimeoutExpired:
            code, message = 1, f"no answer within {_PATIENCE} s"
        else:
            code, message = done.returncode, (done.stderr.splitlines() or ["no message"])[-1]
    if code == 0:
        yield Finding(_TITLE, "ok", "asked and scored")
        return
    text, command_word, arguments = message.partition("pip install")
    fix = command_word + arguments or f"{EXTRA} -c constraints/tested.txt"
    yield Finding(
        _TITLE, "error", text.rstrip(": ") + (f" (exit {code})" if code != 1 else ""), fix
    )


def ask(folder: Path) -> None:
    """Ask and score one question.

    Raises:
        UserError: lmms-eval cannot be used, or its answer is wrong.
    """
    from PIL import Image

    from tasks.vqa.answers import read_rows
    from tasks.vqa.job import Job
    from tasks.vqa.local_data import find_copy
    from tasks.vqa.worker import carry_out

    Image.new("RGB", (32, 24)).save(folder / "picture.png")
    question = "Is there a picture in the picture?"
    row = {"question_id": "0", "question": question, "answer": "yes", "category": "random"}
    (folder / "pope.jsonl").write_text(json.dumps({"image": "picture.png", **row}) + "\n")
    MODELS.register(SaysYes.card.name)(SaysYes)
    job = Job(
        suite="pope",
        settings=VqaSettings.of(POPE.protocol("lmms").settings),
        model=SaysYes.card.name,
        model_digest=SaysYes.card.digest,
        plugins=(),
        device="cpu",
        batch_size=1,
        limit=None,
        copies={"pope": find_copy(folder, ("pope",), "", "test")},
        root=str(folder / "run"),
    )
    carry_out(job, lambda _, **__: None, lambda: None)
    (answer,) = read_rows(job.result)
    if answer.status is not Status.OK or answer.lmms_score != 1:
        raise UserError(f"the right reply has score {answer.lmms_score}: {answer.error}")


if __name__ == "__main__":
    try:
        ask(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(str(error))
