"""Judgements made elsewhere: the judge's replies, or the scores of the published script's results.

One line a judging of a sample:

```json
{"group": "ps_human", "key": "ab12", "language": "en", "instruction": "…", "intersection": true,
 "sc_replies": ["…"], "pq_replies": ["…"]}
```

The published script's `*_gpt_score.csv` is taken as it is: its scores, and the group and the key of
its `edited_image`. Its names and the data set's are known in JSON too: `task_type`,
`instruction_language`, `Intersection_exist`, `intersection_exist`, and in the place of replies
`sementics_score` (as it is spelt there) and `quality_score`. `source_image` and `edited_image` may
name pictures, beside the file, for the gallery; the key may be left to the latter's name.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from harness.data.digests import verified_sha256
from harness.interfaces import ObservedRows
from harness.interfaces.errors import UserError, counted
from harness.interfaces.types import Sample, Status, digest_of
from tasks.gedit.cells import Judging, judged_columns
from tasks.gedit.data import about
from tasks.gedit.edits import SIZE, Edit, checked_edit
from tasks.gedit.settings import GEditSettings
from tasks.gedit.viescore import Verdict
from tasks.shared.jsonl import read_objects, read_rows
from tasks.shared.text_to_image import text_column

_ALIASES = (
    ("group", "task_type"),
    ("language", "instruction_language"),
    ("intersection", "intersection_exist", "Intersection_exist"),
)
_PICTURES = ("source_image", "edited_image")


@dataclass(slots=True)
class _Judged:
    """A sample with all of its judgings."""

    edit: Edit
    pictures: tuple[str, ...]
    judgings: list[Judging]


def read_observations(path: Path, settings: GEditSettings, language: str | None) -> ObservedRows:
    """Read a file of judgements.

    Args:
        path: The file.
        settings: Decide how replies are read.
        language: Lines of the other one are left out; where None, the file has one only.

    Raises:
        UserError: A line is not as it should be, or nothing of that language is there.
    """
    judged: dict[str, _Judged] = {}
    others: Counter[str] = Counter()
    wanted = language
    lines = _csv_lines(path) if path.suffix == ".csv" else read_objects(path)
    for number, (where, line) in enumerate(lines):
        edit = _edit(line, where, number)
        wanted = wanted or edit.language
        if edit.language != wanted:
            if language is None:
                raise UserError(
                    f"{where}: the file holds both languages: score it as gedit-en or gedit-cn"
                )
            others[edit.language] += 1
            continue
        mine = judged.setdefault(edit.id, _Judged(edit, _pictures(line, path), []))
        if (mine.edit.instruction, mine.edit.intersection) != (edit.instruction, edit.intersection):
            raise UserError(f"{where}: another instruction or set than before for {edit.id!r}")
        mine.judgings.append(_judging(line, where))
    if not judged:
        found = ", ".join(others) or "nothing"
        raise UserError(f"{path} holds no judgement of language {wanted!r}, but {found}")
    return _rows(path, list(judged.values()), settings, others)


def _rows(
    path: Path, judged: Sequence[_Judged], settings: GEditSettings, others: Mapping[str, int]
) -> ObservedRows:
    counts = {len(each.judgings) for each in judged}
    if len(counts) > 1:
        fewest, most = min(counts), max(counts)
        example = next(each.edit.id for each in judged if len(each.judgings) == most)
        raise UserError(
            f"{path}: {example!r} is judged {most} times and others {fewest}: give every sample "
            "the same number of lines"
        )
    columns = dict(judged_columns([each.judgings for each in judged], settings.replies))
    columns |= about([each.edit for each in judged])
    for place, name in enumerate(_PICTURES):
        columns[name] = text_column([each.pictures[place] for each in judged])
    language = judged[0].edit.language
    notices = [
        f"{counted(count, 'line')} of language {name} left out" for name, count in others.items()
    ]
    if len(judged) != SIZE:
        notices.append(f"{counted(len(judged), 'edit')} here, the published data set has {SIZE}")
    return ObservedRows(
        samples=[
            Sample(
                id=each.edit.id,
                index=index,
                sha256=digest_of([each.edit.instruction, each.edit.intersection]),
            )
            for index, each in enumerate(judged)
        ],
        statuses=[Status(status) for status in columns["status"]],
        errors=list(columns["error"]),
        columns={"gedit_judge": {k: v for k, v in columns.items() if k not in ("status", "error")}},
        identities={"gedit_judge": {"version": 2, "file": verified_sha256(path)}},
        label=f"GEdit-Bench {language}",
        notice="; ".join(notices),
        judged_elsewhere=any(judging.given for each in judged for judging in each.judgings),
    )


def _csv_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of the published script's results, with numbers and truth values read."""
    for where, row in read_rows(path):
        yield where, {**row, **_typed(row)}


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    known: dict[str, Any] = {"group": PurePosixPath(row.get("edited_image", "")).parent.parent.name}
    for name in ("sementics_score", "quality_score"):
        with contextlib.suppress(KeyError, ValueError):
            known[name] = float(row[name])
    if (exists := row.get("intersection_exist", "")) in ("True", "False"):
        known["intersection_exist"] = exists == "True"
    return known


def _edit(line: Mapping[str, Any], where: str, number: int) -> Edit:
    group, language, intersection = (
        next((line[alias] for alias in aliases if alias in line), None) for aliases in _ALIASES
    )
    cells = {
        "group": group,
        "language": language,
        "key": line.get("key", PurePosixPath(str(line.get("edited_image", ""))).stem),
        "instruction": line.get("instruction"),
        "intersection": intersection,
    }
    return checked_edit(cells, where, number)


def _pictures(line: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    found = [line.get(name) for name in _PICTURES]
    return tuple(
        str((path.parent / name).resolve())
        if isinstance(name, str) and (path.parent / name).is_file()
        else ""
        for name in found
    )


def _judging(line: Mapping[str, Any], where: str) -> Judging:
    if "sc_replies" in line or "pq_replies" in line:
        judging = Judging()
        for kind, name in (("SC", "sc_replies"), ("PQ", "pq_replies")):
            replies = line.get(name)
            if not isinstance(replies, list) or not all(
                reply is None or isinstance(reply, str) for reply in replies
            ):
                raise UserError(f"{where}: {name!r} is no list of texts")
            judging.texts[kind] = [reply or "" for reply in replies]  # type: ignore[index]
        return judging
    if "sementics_score" not in line or "quality_score" not in line:
        raise UserError(
            f"{where}: expected 'sc_replies' and 'pq_replies', or 'sementics_score' and "
            "'quality_score'"
        )
    return Judging(given=_given(line["sementics_score"], line["quality_score"]))


def _given(sc: Any, pq: Any) -> Verdict:
    """Stored scores; anything but finite numbers from 0 to 10 is a failure, and no guess."""
    for kind, score in (("SC", sc), ("PQ", pq)):
        if isinstance(score, bool) or not isinstance(score, int | float):
            return Verdict(problem=f"{kind} score is {score!r}, no number")
        if not math.isfinite(score) or not 0 <= score <= 10:
            return Verdict(problem=f"{kind} score is {score}, not from 0 to 10")
    return Verdict(float(sc), float(pq))
