"""Suites that ask for a letter: SEED-Bench, ScienceQA, AI2D, RealWorldQA."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.vqa.scorers import Document, Judged
from tasks.vqa.scorers.literal import equal_words

_LETTER_AND_PERIOD = re.compile(r"^\s*([A-Z])\.")
_FOUR = ("A", "B", "C", "D")
_TRIMMED = (",", ".", "!", "?", ";", ":", "'", '"')
_OTHER_LEAD_INS = (
    *("i choose", "i select", "i pick"),
    # The Korean, Chinese and Japanese of 'the answer is'.
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)
_LEAD_INS = (
    *(f"{which}answer is" for which in ("", "the ", "my ")),
    *(f"{which}choice is" for which in ("", "the ", "my ")),
    *(
        f"{the}{which} {noun} is"
        for the in ("", "the ")
        for which, nouns in (
            ("correct", ("answer", "option", "choice")),
            ("best", ("answer", "option")),
        )
        for noun in nouns
    ),
    *_OTHER_LEAD_INS,
)
"""Phrases behind which a letter is the answer; each is looked for once, at its first place."""


def seedbench(document: Document, reply: str) -> Judged:
    """The reply's first character is the answer: 'Blue' counts as B, '(B)' as wrong."""
    letter = reply.strip()[:1]
    right = str(document["answer"])
    return Judged(float(letter.lower() == right.lower().strip()), right, letter)


def scienceqa(document: Document, reply: str) -> Judged:
    """A letter alone in either case, or a capital with a period and anything behind."""
    right = _letter(int(document["answer"]), document["choices"])
    said = reply.strip()
    if said.lower() != right.lower() and said[:1].isupper() and said[1:2] == ".":
        said = said[0]
    return Judged(float(said.lower() == right.lower()), right, said)


def ai2d(document: Document, reply: str) -> Judged:
    """A capital with a period in front, else the whole reply, by letters of either case."""
    right = _letter(int(document["answer"]), document["options"])
    said = ai2d_answer(reply)
    return Judged(float(equal_words(said.strip(), right)), right, said)


def ai2d_answer(reply: str) -> str:
    """What lmms-eval's filter 'flexible-extract' makes of a reply."""
    found = _LETTER_AND_PERIOD.match(reply)
    return found[1] if found else reply


def realworldqa(document: Document, reply: str) -> Judged:
    """A letter wherever one is to be found where the answer is one, else the same text."""
    right = str(document["answer"]).strip()
    if right.upper() in _FOUR:
        said = find_letter(reply, _FOUR)
        return Judged(float(said == right.upper()), right, said)
    said = reply.lower().strip().rstrip(".")
    return Judged(float(said == right.lower()), right, said)


def find_letter(reply: str, letters: Sequence[str]) -> str:
    """The letter that a free reply most likely means, empty where there is none.

    Ways to name a letter are ranked: first in the reply, last, behind a lead-in, then (B), B. B: B)
    and B with a space, and at last anywhere. Within a way the last place wins, in a tie the first
    letter.
    """
    if not reply.strip():
        return ""
    trimmed = reply.strip()
    for mark in _TRIMMED:
        trimmed = trimmed.strip(mark)
    text = f" {trimmed} "
    found = [*_at_the_ends(text, letters), *_behind_lead_ins(text, letters)]
    for rank, form in ((6, "({})"), (5, "{}."), (4, "{}:"), (3, "{})"), (2, "{} ")):
        found += _written(text, letters, rank, form)
    found = found or _written(text, letters, 0, "{}")
    return max(found, key=lambda item: item[:2])[2] if found else ""


_Found = tuple[int, int, str]
"""Rank of the way, place in the text, letter."""


def _at_the_ends(text: str, letters: Sequence[str]) -> list[_Found]:
    bare = text.strip()
    first = [
        (10, 0, letter) for letter in letters if bare.startswith(letter) and not bare[1:2].isalpha()
    ]
    last = [
        (9, len(text) - 1, letter)
        for letter in letters
        if bare.endswith(letter) and not bare[-2:-1].isalpha()
    ]
    return first + last


def _behind_lead_ins(text: str, letters: Sequence[str]) -> list[_Found]:
    lower = text.lower()
    found = []
    for phrase in _LEAD_INS:
        place = lower.find(phrase)
        if place >= 0:
            starts = [(text.find(letter, place + len(phrase)), letter) for letter in letters]
            found += [(7, start, letter) for start, letter in starts if start >= 0]
    return found


def _written(text: str, letters: Sequence[str], rank: int, form: str) -> list[_Found]:
    places = [(text.rfind(form.format(letter)), letter) for letter in letters]
    return [(rank, place, letter) for place, letter in places if place >= 0]


def _letter(place: int, options: Sequence[str]) -> str:
    """The letter of an option, whose place may count from the end."""
    return chr(ord("A") + range(len(options))[place])
