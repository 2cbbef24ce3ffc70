"""A suite's page of replies: wrong ones first, picture beside question, by category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.interfaces.types import Status
from tasks.gallery import Card, Shot, Verdict, card_of, write_gallery
from tasks.gallery.cards import SIDE
from tasks.vqa.answers import Row, observed
from tasks.vqa.suites import Suite

CARDS = 200
"""Replies on a page; wrong ones of every category in turn, then right ones."""
RIGHT = 40
"""Most of these that are right replies, where there are enough wrong ones."""
_FOLDER = "images"
_PICTURES = 4
"""Pictures of one question that are kept."""


def chosen(states: Sequence[tuple[str, bool | None]]) -> list[int]:
    """Which replies to show: places of the wrong, the failed and the right ones, in this order.

    Args:
        states: Category of each reply, and whether it is right; None where it failed.
    """
    wrong = _in_turn([(place, name) for place, (name, good) in enumerate(states) if good is False])
    failed = [place for place, (_, good) in enumerate(states) if good is None]
    right = _in_turn([(place, name) for place, (name, good) in enumerate(states) if good])
    shown = (wrong + failed)[: CARDS - min(RIGHT, len(right))]
    return shown + right[: CARDS - len(shown)]


def _in_turn(places: Sequence[tuple[int, str]]) -> list[int]:
    """Places of all categories in turn, so that a few show every category."""
    members: dict[str, list[int]] = defaultdict(list)
    for place, name in places:
        members[name].append(place)
    ranked = sorted((rank, place) for rows in members.values() for rank, place in enumerate(rows))
    return [place for _, place in ranked]


def keep_pictures(
    root: Path, suite: Suite, rows: Sequence[Row], pictures: Callable[[int], Sequence[Any]]
) -> None:
    """Keep small copies of those pictures that the page will show.

    Args:
        root: The run directory.
        suite: Whose questions they are.
        rows: All of them, scored by lmms-eval.
        pictures: Opens the pictures of the question of that id, as RGB; may raise anything.
    """
    seen = observed(suite, rows)
    scores, categories = (seen.columns["answers"][name] for name in ("score", "category"))
    states = [
        (str(category), bool(score >= 0.5) if status is Status.OK and score == score else None)
        for category, score, status in zip(categories, scores, seen.statuses, strict=True)
    ]
    (root / _FOLDER).mkdir(exist_ok=True)
    for place in chosen(states):
        try:
            opened = pictures(int(rows[place].id))
        except Exception:  # The row says so already.
            continue
        for number, picture in enumerate(opened[:_PICTURES]):
            picture.thumbnail((SIDE, SIDE), reducing_gap=2.0)
            picture.save(root / _name(rows[place].id, number))


def _name(row: str, number: int) -> str:
    return f"{_FOLDER}/{row}-{number}.jpg"


def write_page(root: Path, suite: Suite, rows: pd.DataFrame) -> None:
    """Write `gallery.html` and contact sheets of some of the rows.

    Args:
        root: The run directory, with the pictures that were kept.
        suite: Whose questions they are.
        rows: As in samples.parquet.
    """
    entries: list[dict[str, Any]] = [
        {str(name): cell for name, cell in entry.items()} for entry in rows.to_dict("records")
    ]
    states = [(str(entry.get("category") or ""), _good(entry)) for entry in entries]
    cards = [_card(root, entries[place], states[place]) for place in chosen(states)]
    right = sum(good is True for _, good in states)
    title = f"{suite.title}: {len(cards)} of {len(entries)} replies, {right} of all are right"
    write_gallery(root, title, cards)


def _good(entry: dict[str, Any]) -> bool | None:
    score = entry.get("score")
    if entry["status"] != Status.OK or score is None or score != score:
        return None
    return bool(score >= 0.5)


def _card(root: Path, entry: dict[str, Any], state: tuple[str, bool | None]) -> Card:
    category, good = state
    names = [_name(entry["id"], number) for number in range(_PICTURES)]
    pictures = [Shot(root / name) for name in names if (root / name).is_file()]

    def verdict(entry: Mapping[str, Any]) -> Verdict:
        text = f"reply {entry['reply']!r}, right answer {entry['answer']!r}"
        taken = entry["prediction"]
        words = "" if taken == entry["reply"].strip() else f"taken for: {taken!r}"
        return Verdict(text, good, words, category)

    failed = entry["status"] != Status.OK
    title = entry["error"] if failed else entry["question"]
    return card_of(entry, title, pictures, verdict, group=entry["status"])
