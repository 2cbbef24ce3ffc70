"""Scores that were made elsewhere: `score_lists.json` of GenEval 2's own script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.data.digests import verified_sha256
from harness.interfaces import ObservedRows
from harness.interfaces.errors import UserError
from harness.interfaces.types import Status
from tasks.asked.answers import EXTRACTOR, Answered, to_columns
from tasks.asked.data import about, as_prompt
from tasks.asked.items import Item
from tasks.shared.jsonl import read_json
from tasks.shared.text_to_image import samples_of


def read_observations(path: Path, items: Sequence[Item], each: int) -> ObservedRows:
    """A list of scores, 0 to 1, for each prompt in order, one a question.

    Raises:
        UserError: It is no such file, or of other prompts.
    """
    lists = read_json(path)
    if each != 1:
        raise UserError(f"{path} has one picture a prompt; the protocol draws {each}")
    if not isinstance(lists, list) or len(lists) != len(items):
        found = len(lists) if isinstance(lists, list) else "no"
        raise UserError(f"{path}: {found} lists of scores for {len(items)} prompts")
    for item, scores in zip(items, lists, strict=True):
        if not isinstance(scores, list) or len(scores) != len(item.questions):
            raise UserError(
                f"{path}, prompt {item.id}: expected {len(item.questions)} scores, one a question"
            )
        if not all(type(x) in {int, float} and 0 <= x <= 1.001 for x in scores):
            raise UserError(f"{path}, prompt {item.id}: a score is a number from 0 to 1")
    pictures = [Answered(item, scores) for item, scores in zip(items, lists, strict=True)]
    return ObservedRows(
        samples=samples_of((as_prompt(item), 0) for item in items),
        statuses=[Status.OK] * len(items),
        errors=[""] * len(items),
        columns={EXTRACTOR: to_columns(pictures)},
        identities={EXTRACTOR: {"version": 1, "file": verified_sha256(path)}},
        label=path.name,
        notice=about(items),
        judged_elsewhere=True,
    )
