"""What came of questions: replies made safe, and the journal of what is already answered."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from harness.data.store import Store
from harness.interfaces.errors import SampleFailure
from harness.interfaces.types import Status, digest_of

_LOG = logging.getLogger(__name__)
_SEAL = "sha256"
"""Key of a line's digest."""
_KEPT_CONTROLS = "\t\n\r"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Answered:
    """What came of a question."""

    reply: str = ""
    status: Status = Status.OK
    error: str = ""
    images: tuple[str, ...] = ()
    """Digests of the pictures' pixels."""
    cut: bool = False
    """Whether the reply was longer than the limit."""
    controls: int = 0
    """Control characters and halves of surrogate pairs that were replaced."""

    @classmethod
    def failed(cls, error: Exception, images: tuple[str, ...] = ()) -> Answered:
        """A question that has no reply; the status is the failure's, or the model's."""
        status = error.status if isinstance(error, SampleFailure) else Status.MODEL_ERROR
        text = (
            str(error) if isinstance(error, SampleFailure) else f"{type(error).__name__}: {error}"
        )
        return cls(status=status, error=next(iter(safe(text)[0].splitlines()), ""), images=images)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Read a line's fields; raise `ValueError`, `TypeError` or `KeyError` for anything else."""
        if not isinstance(entry["reply"], str):
            raise TypeError("the reply is no text")
        known = {"status": Status(entry["status"]), "images": tuple(entry["images"])}
        return cls(**{**entry, **known})


def safe(text: str) -> tuple[str, int]:
    """The text with U+FFFD for what no file or terminal should hold, and how often that was."""
    letters = [_REPLACEMENT if _unsafe(letter) else letter for letter in text]
    return "".join(letters), sum(map(_unsafe, text))


def _unsafe(letter: str) -> bool:
    return unicodedata.category(letter) in {"Cc", "Cs"} and letter not in _KEPT_CONTROLS


def until(reply: str, stop: Sequence[str]) -> str:
    """The reply up to the first of `stop`, for models that generate past it."""
    ends = [reply.find(text) for text in stop if text]
    return reply[: min((end for end in ends if end >= 0), default=len(reply))]


class Journal:
    """Replies of an unfinished run, by everything that they depend on; a line a reply.

    What was added survives the end of the process, if not that of the machine.

    Args:
        path: The file; a last line that was cut short is left behind, and damaged ones are
            missing, with a warning. Lines from before there were digests have none.
        earlier: A journal whose replies are known too; it is only read.
        keeps: Whether what a reply names is still there.
    """

    def __init__(
        self,
        path: Path,
        earlier: Path | None = None,
        keeps: Callable[[Answered], bool] = lambda _: True,
    ) -> None:
        self._path = path
        self._keeps = keeps
        self._known = {} if earlier is None else _read(earlier)[0]
        known, whole = _read(path)
        self._known |= known
        if path.is_file() and whole < path.stat().st_size:
            os.truncate(path, whole)

    def get(self, key: str) -> Answered | None:
        """The reply that was kept under that key."""
        known = self._known.get(key)
        return known if known is not None and self._keeps(known) else None

    def add(self, answers: Mapping[str, Answered]) -> None:
        """Keep a batch's replies; failures are asked again and not kept."""
        kept = {key: answer for key, answer in answers.items() if answer.status is Status.OK}
        entries = [{"key": key, **vars(answer)} for key, answer in kept.items()]
        lines = [json.dumps({**entry, _SEAL: digest_of(entry)}) + "\n" for entry in entries]
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
        self._known.update(kept)

    def take_in(self, others: Sequence[Path]) -> None:
        """Move the replies of other journals, to which nobody writes any more, into this one."""
        for path in others:
            known, _ = _read(path)
            self.add({key: each for key, each in known.items() if key not in self._known})
            path.unlink()


def _read(path: Path) -> tuple[dict[str, Answered], int]:
    """A journal's replies by their keys, and how many of its bytes are whole lines."""
    content = path.read_bytes() if path.is_file() else b""
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].splitlines()
    found = [entry for entry in map(_entry, lines) if entry is not None]
    if damaged := len(lines) - len(found):
        _LOG.warning("%s: %d damaged replies are asked for again", path, damaged)
    return dict(found), whole


def _entry(line: bytes) -> tuple[str, Answered] | None:
    """The key and the reply of a journal's line; None where it is not as it was written."""
    try:
        entry = json.loads(line)
        seal = entry.pop(_SEAL, None)
        if seal is not None and seal != digest_of(entry):
            return None
        return entry.pop("key"), Answered.of(entry)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def hand_over(path: Path, answers: Mapping[int, Answered]) -> None:
    """Write what came of the questions at these places, the whole file or none."""
    lines = [json.dumps({"place": place, **vars(answer)}) for place, answer in answers.items()]
    Store(path.parent).write_text(path.name, "".join(f"{line}\n" for line in lines))


def handed_over(path: Path) -> dict[int, Answered]:
    """Read what `hand_over` wrote."""
    entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {entry.pop("place"): Answered.of(entry) for entry in entries}
