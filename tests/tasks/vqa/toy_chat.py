"""A `--plugin` file: a model that answers from a table, or breaks down as the table says."""

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Annotated

from harness.interfaces import Argument
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard


@MODELS.register("toy-chat")
class ToyChat:
    """Replies by the first key that stands in a question; 'yes' to all others.

    Args:
        table: A JSON file of replies by parts of questions. The reply '<exit once>' ends
            the process the first time, '<interrupt once>' raises as Ctrl-C does, '<hang once>'
            keeps it waiting, with the number of the process that started it in a file, '<refuse>'
            and '<raise>' raise, null is None.
    """

    def __init__(self, table: Annotated[Path, Argument]) -> None:
        self._replies = json.loads(table.read_text())
        self.card = ModelCard(name="toy-chat", config={"replies": self._replies})
        self._log = table.with_suffix(".log")
        self._broken = table.with_suffix(".broken")
        self._hanging = table.with_suffix(".hanging")

    def load(self, device: str) -> None:
        self._note("load")

    def reply(self, questions, *, max_new_tokens, stop=()):
        found = []
        for question in questions:
            assert all(image.dtype == "uint8" and image.ndim == 3 for image in question.images)
            self._note(question.text.splitlines()[0])
            answers = [value for key, value in self._replies.items() if key in question.text]
            found.append(answers[0] if answers else "yes")
        if {"<exit once>", "<interrupt once>"} & {*found} and not self._broken.exists():
            self._broken.touch()
            if "<interrupt once>" in found:
                raise KeyboardInterrupt
            os._exit(7)
        if "<hang once>" in found:
            with contextlib.suppress(FileExistsError), self._hanging.open("x") as file:
                file.write(f"{os.getppid()}\n")
                file.flush()
                threading.Event().wait()
        if "<refuse>" in found:
            raise UserError("the weights are no weights")
        if "<raise>" in found:
            raise RuntimeError("the table says so")
        return found

    def _note(self, text: str) -> None:
        with self._log.open("a") as file:
            file.write(text + "\n")
