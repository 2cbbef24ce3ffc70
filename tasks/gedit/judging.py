"""The judge at work: originals and edits become prompts, replies become scores.

The prompts are read from where their authors' texts ship; none of them is kept here.
"""

from __future__ import annotations

import ast
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.data import assets
from harness.interfaces import Columns
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.extras import install
from harness.interfaces.registry import JUDGES
from harness.judges import Judge, JudgeReply, JudgeRequest
from tasks.gedit.cells import Judging, judged_columns
from tasks.gedit.settings import GEditSettings, PromptDigests
from tasks.gedit.viescore import TRIES, Kind, outstanding


@dataclass(frozen=True, slots=True)
class EditPair:
    """An instruction, an original and what a model made of it."""

    instruction: str
    source: np.ndarray
    """uint8 (H, W, 3)."""
    edited: np.ndarray
    """uint8 (h, w, 3), of any size."""


@dataclass(slots=True)
class _Case:
    """One pair, ready to be sent, in one of its judgings."""

    texts: dict[Kind, str]
    images: dict[Kind, tuple[bytes, ...]]
    number: int
    judging: Judging = field(default_factory=Judging)

    def request(self, kind: Kind) -> JudgeRequest:
        """The request of the next try."""
        tried = len(self.judging.texts[kind])
        return JudgeRequest(self.texts[kind], self.images[kind], self.number * TRIES + tried)


class EditJudge:
    """Asks a judge about every edit: does it follow the instruction, does it look natural.

    Args:
        settings: The protocol's.
        device: Not used: the judge is elsewhere.

    Raises:
        UserError: The prompts or the judge's client are not there.
    """

    concurrent = True
    works_on = "elsewhere"

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        del device
        if "judge" not in settings:
            raise UserError("the protocol names no judge: give --protocol gedit")
        self._settings = GEditSettings.of(settings)
        self._prompts = read_prompts(self._settings.prompts)
        self._judge: Judge = JUDGES.get(self._settings.judge.client)(self._settings.judge)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The judge's endpoint; prompts and model are the protocol's."""
        return {"version": 2, "judge": dict(self._judge.identity)}

    def preflight(self) -> None:
        """See that the judge can be asked, before a model works for it."""
        self._judge.check()

    def observe(self, pairs: Sequence[EditPair]) -> Columns:
        """Scores and words, as `judged_columns` lays them out."""
        judgings = self._settings.judgings
        cases = [
            _Case(case.texts, case.images, number)
            for case in map(self._case, pairs)
            for number in range(judgings)
        ]
        for _ in range(TRIES):
            self._ask(cases)
        done = [case.judging for case in cases]
        grouped = [done[start : start + judgings] for start in range(0, len(done), judgings)]
        return judged_columns(grouped, self._settings.replies)

    def _case(self, pair: EditPair) -> _Case:
        source = Image.fromarray(pair.source)
        edited = Image.fromarray(pair.edited).resize(source.size, Image.Resampling.BICUBIC)
        one, two = self._jpeg(source), self._jpeg(edited)
        return _Case(
            texts={"SC": self._prompts.about(pair.instruction), "PQ": self._prompts.quality},
            images={"SC": (one, two), "PQ": (two,)},
            number=0,
        )

    def _jpeg(self, image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=self._settings.judge.jpeg_quality)
        return buffer.getvalue()

    def _ask(self, cases: Sequence[_Case]) -> None:
        """Ask for every reply that is outstanding; those of all cases at a time."""
        open_cases = [case for case in cases if not case.judging.failure]
        asked = [
            (case, kind)
            for case in open_cases
            for kind in outstanding(case.judging.texts, self._settings.replies)
        ]
        replies = self._judge.ask([case.request(kind) for case, kind in asked])
        for (case, kind), reply in zip(asked, replies, strict=True):
            _add(case.judging, kind, reply)


def _add(judging: Judging, kind: Kind, reply: JudgeReply) -> None:
    if reply.failure:
        judging.failure = f"{kind}: {reply.failure}"
        return
    judging.texts[kind].append("" if reply.refusal else reply.text)
    judging.usage.add(reply)
    if reply.refusal:
        judging.refusals.append(f"{kind}: {reply.refusal}")


ASSET = "gedit-prompts"
_FILE = "tasks/gedit_bench/viescore/vie_prompts.py"
_PARTS = {
    "semantics": (
        "_context_no_delimit",
        "_prompts_0shot_two_image_edit_rule",
        "_prompts_0shot_tie_rule_SC",
    ),
    "quality": ("_context_no_delimit", "_prompts_0shot_rule_PQ"),
}
_PLACE = "<instruction>"


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a judge is asked."""

    semantics: str
    quality: str

    def about(self, instruction: str) -> str:
        """The prompt on whether the instruction was followed."""
        return self.semantics.replace(_PLACE, instruction)


def read_prompts(expected: PromptDigests) -> Prompts:
    """The texts that the protocol names, from the fetched file or the installed lmms-eval.

    Raises:
        UserError: They are not on this machine, or are not the protocol's.
    """
    path = _find()
    constants = _constants(path)
    try:
        texts = {
            name: "\n".join(constants[part] for part in parts) for name, parts in _PARTS.items()
        }
    except KeyError as error:
        raise UserError(f"{path} has no prompt {error}: install lmms-eval 0.7.3") from error
    for name, text in texts.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest != getattr(expected, name):
            raise UserError(
                f"{path}: the {name} prompt is not the protocol's (SHA-256 {digest[:12]}…, "
                f"expected {getattr(expected, name)[:12]}…): run `uwt-eval assets fetch {ASSET}`"
            )
    return Prompts(**texts)


def _find() -> Path:
    try:
        return assets.needed(ASSET)
    except Unavailable:
        spec = find_spec("lmms_eval")  # Finds the package without importing it.
        for folder in () if spec is None else spec.submodule_search_locations or ():
            if (path := Path(folder) / _FILE).is_file():
                return path
        raise UserError(
            f"the judge's prompts are not on this machine: run `{install('vqa')}`, or "
            f"`uwt-eval assets fetch {ASSET}`"
        ) from None


def _constants(path: Path) -> dict[str, str]:
    """The texts that a Python file assigns, read without running it."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} cannot be read: install lmms-eval 0.7.3 again") from error
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
