"""VQAv2 and TextVQA: agreement with ten people, after the normalisation of the VQA challenge.

The rules are those of EvalAI's VQA evaluation (Antol et al. 2015), as lmms-eval applies them: VQAv2
skips the tokeniser, TextVQA does not. Quirks that move scores are kept and named.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from typing import Any

from tasks.vqa.scorers import Document, Judged

_FORMS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),+(?=\d)")
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32
"""The released code hands re.UNICODE, which is 32, to `sub` as its count."""
_PEOPLE = 3
"""People who must agree for full marks."""


def _contractions() -> dict[str, str]:
    """Every form with one of its apostrophes left out, and what it stands for."""
    table = {
        form[:place] + form[place + 1 :]: form
        for form in _FORMS.split()
        for place, letter in enumerate(form)
        if letter == "'"
    }
    # As released, this one is the wrong way round.
    return table | {"somebody'd": "somebodyd"}


_CONTRACTIONS = _contractions()


def without_marks(text: str) -> str:
    """Take punctuation out, or put a space where it joins words."""
    number = _COMMA_IN_NUMBER.search(text) is not None
    result = text
    # As released: one such mark beside a space, or one number with a comma, and the mark goes
    # everywhere without leaving a space.
    for mark in _MARKS:
        alone = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if alone or number else " ")
    return _PERIOD.sub("", result, count=_MOST_PERIODS)


def plain_words(text: str) -> str:
    """Lower case, numbers up to ten as digits, no articles, contractions with apostrophes."""
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def normalised(text: str) -> str:
    """An answer as TextVQA compares it."""
    tokens = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return plain_words(without_marks(_one_line(tokens)))


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _vqa_form(text: str) -> str:
    return plain_words(without_marks(_one_line(text)))


def consensus(reply: str, answers: Sequence[str], others: Sequence[Sequence[int]]) -> float:
    """Mean over people of min(1, n / 3), where n of the others said what the reply says.

    Args:
        reply: Normalised.
        answers: Normalised, one a person.
        others: For each person the places of those that it is compared with.
    """
    # Each person is left out in turn, as a person is scored against the other nine: machines and
    # people are then on one scale (Antol et al. 2015).
    shares = [min(1.0, sum(answers[i] == reply for i in rest) / _PEOPLE) for rest in others]
    return float(statistics.mean(shares))


def vqav2(document: Document, reply: str) -> Judged:
    """VQAv2's score; not a number for the test split, whose answers are not public."""
    given: Sequence[Any] = document.get("answers") or ()
    said = _vqa_form(reply)
    if not given:
        return Judged(float("nan"), "", said)
    answers = [_vqa_form(item["answer"]) for item in given]
    # lmms-eval leaves out whoever equals the person in every field, and so an unnumbered twin too.
    rows = [{**item, "answer": answer} for item, answer in zip(given, answers, strict=True)]
    others = [[i for i, row in enumerate(rows) if row != mine] for mine in rows]
    return Judged(consensus(said, answers, others), _shown([i["answer"] for i in given]), said)


def textvqa(document: Document, reply: str) -> Judged:
    """TextVQA's score."""
    given: Sequence[str] = document.get("answers") or ()
    said = normalised(reply)
    if not given:
        return Judged(float("nan"), "", said)
    people = range(len(given))
    others = [[i for i in people if i != mine] for mine in people]
    score = consensus(said, [normalised(answer) for answer in given], others)
    return Judged(score, _shown(given), said)


def _shown(answers: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(answers))
