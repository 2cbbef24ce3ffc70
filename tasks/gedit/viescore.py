"""From a judge's words to scores: VIEScore's reading of replies, and a strict one.

Every image is judged by two replies: SC, on whether the instruction was followed and nothing else
changed, and PQ, on natural looks and artefacts. Each holds a list of scores from 0 to 10, of which
the smallest counts. A reply that cannot be read is asked for once more, and then is a failure.

'official' reads replies as the published script does: numbers are taken as they are, whatever their
count and range; a reply with no JSON may be a bare list or number on the first try; where one of
both replies cannot be read, both are asked for again. One thing is left out: on the second try the
script draws a random score for a reply without JSON, and asks forever for broken JSON. Both are
failures here, and the first is named as a guess.

'strict' takes the one JSON object with two numbers from 0 to 10 under 'score', whatever words or
braces stand around it and whatever was thought before it, and asks again for the one reply that
holds none, or several, be they one key twice or a `score = [9, 9]` beside the object.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["strict", "official"]
Kind = Literal["SC", "PQ"]
KINDS: tuple[Kind, Kind] = ("SC", "PQ")
TRIES = 2
GUESSED = "holds no JSON: the published script draws a random score here"
_DELIMITER = "||V^=^V||"
_SCORES = 2
_HIGHEST = 10
_BARE_LIST = re.compile(r"\[\d+, ?\d+\]")
_LARGEST = 1e100
"""Numbers from here on overflow in products."""
_WORD_BEFORE_COLON = re.compile(r"(?<!\w)(\w+):")
_END_OF_VALUE = re.compile(r"[,}]")
_OBJECT = re.compile(r'\{\s*"[^"\\]*(?:\\.[^"\\]*)*"\s*:', re.DOTALL)
"""How an object in earnest begins, unlike other braces: with a key."""
_THOUGHTS = re.compile(r"[<\[](/?)(?:think|thinking|thought|reasoning)[>\]]", re.IGNORECASE)
_LOOSE_SCORES = re.compile(r"""\bscore["']?\s*[:=]\s*\[\s*[-+.\d]""", re.IGNORECASE)
"""A list of scores outside JSON; the prompt's own `score = [score1, score2]` is none."""
_Object = tuple[tuple[str, Any], ...]
"""Keys and values as they stand: a key may come twice."""
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=tuple)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_CONSTANT = re.compile(r"true|false|null", re.IGNORECASE)

Replies = Mapping[Kind, Sequence[str]]
"""The texts of every try, by kind."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The scores of one reply, or why it has none."""

    scores: tuple[Any, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Scores of one judging, or why it has none."""

    sc: float = math.nan
    pq: float = math.nan
    problem: str = ""

    @property
    def overall(self) -> float:
        """The geometric mean; NaN without scores."""
        return math.sqrt(self.sc * self.pq)


def outstanding(replies: Replies, mode: Mode) -> tuple[Kind, ...]:
    """The replies that are still to be asked for, in one judging."""
    tries = {kind: len(replies[kind]) for kind in KINDS}
    if 0 in tries.values():
        return tuple(kind for kind in KINDS if not tries[kind])
    if mode == "strict":
        return tuple(
            kind for kind in KINDS if tries[kind] < TRIES and _first_strict(replies[kind]).problem
        )
    return KINDS if max(tries.values()) < TRIES and _official_try(replies, 0).problem else ()


def judge(replies: Replies, mode: Mode) -> Verdict:
    """The scores of one judging from its replies."""
    if mode == "strict":
        readings = {kind: _first_strict(replies[kind]) for kind in KINDS}
        for kind in KINDS:
            if problem := readings[kind].problem:
                return Verdict(problem=f"{kind} reply {problem}")
        return _verdict(readings["SC"].scores, readings["PQ"].scores)
    first = _official_try(replies, 0)
    return first if not first.problem or _tries(replies) < TRIES else _official_try(replies, 1)


def _tries(replies: Replies) -> int:
    return min(len(replies[kind]) for kind in KINDS)


def _official_try(replies: Replies, index: int) -> Verdict:
    scores = []
    for kind in KINDS:
        if index >= len(replies[kind]):
            return Verdict(problem=f"{kind} reply is missing")
        reading = read_official(replies[kind][index], last=index > 0)
        if reading.problem:
            return Verdict(problem=f"{kind} reply {reading.problem}")
        scores.append(reading.scores)
    return _verdict(*scores)


def _verdict(sc: Sequence[Any], pq: Sequence[Any]) -> Verdict:
    for kind, scores in zip(KINDS, (sc, pq), strict=True):
        if not scores or not all(map(_is_number, scores)):
            return Verdict(problem=f"{kind} reply has scores that are no numbers")
    # VIEScore takes the worst of a judge's aspects: a good background does not pay for an
    # instruction that was not followed. The product under the root is the same idea once more.
    least = min(sc), min(pq)
    if least[0] * least[1] < 0:  # No root; two negative ones pass, as in the script.
        return Verdict(problem="a score is negative")
    return Verdict(float(least[0]), float(least[1]))


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -_LARGEST < value < _LARGEST
    )


def _first_strict(replies: Sequence[str]) -> Reading:
    """The first reply that can be read, or the last one's problem."""
    reading = Reading(problem="is missing")
    for reply in replies[:TRIES]:
        reading = read_strict(reply)
        if not reading.problem:
            break
    return reading


def read_strict(reply: str) -> Reading:
    """Two finite numbers from 0 to 10 under 'score' in a JSON object, or a problem."""
    if not reply.strip():
        return Reading(problem="is empty")
    answer = _after_thoughts(reply)
    start, end = answer.find("{"), answer.rfind("}") + 1
    if start == -1 or end <= start:
        return Reading(problem="holds no JSON")
    try:
        objects, words = _objects(answer)
    except (ValueError, RecursionError):
        return Reading(problem="holds JSON that is broken")
    if not objects:
        return Reading(problem="holds JSON that is broken")
    lists = [[value for key, value in each if key == "score"] for each in objects]
    found = [value for each in lists for value in each]
    several = sum(map(bool, lists))
    if several > 1:
        return Reading(problem=f"holds {several} JSON objects with scores")
    if len(found) > 1 or (found and _LOOSE_SCORES.search(words)):
        return Reading(problem="holds several lists of scores")
    scores = found[0] if found else None
    if not isinstance(scores, list) or len(scores) != _SCORES:
        return Reading(problem=f"has no list of {_SCORES} scores")
    if not all(_is_number(score) and 0 <= score <= _HIGHEST for score in scores):
        return Reading(problem=f"has scores that are no numbers from 0 to {_HIGHEST}")
    return Reading(tuple(scores))


def _after_thoughts(reply: str) -> str:
    """What a reply says once its reasoning is over; nothing of reasoning that was cut short.

    A mark inside a JSON object is a word of it, save where the object is reasoned about.
    """
    start, opened, place, broken = 0, -1, 0, False
    mark = _THOUGHTS.search(reply)
    while mark is not None:
        whole = None if broken or opened >= 0 else _OBJECT.search(reply, place, mark.start())
        if whole is not None:
            try:
                place = _DECODER.raw_decode(reply, whole.start())[1]
            except (ValueError, RecursionError):
                broken = True  # Marks after it count until the next one closes.
        else:
            if mark[1]:
                start, opened, broken = mark.end(), -1, False
            elif opened < 0:
                opened = mark.start()
            place = mark.end()
        if mark.start() < place:
            mark = _THOUGHTS.search(reply, place)
    return reply[start : opened if opened >= 0 else len(reply)]


def _objects(text: str) -> tuple[list[_Object], str]:
    """The JSON objects of a text, outermost ones, in one pass, and the words around them.

    Raises:
        ValueError: One is broken. What stands inside it is not looked for: a number of a part
            would pass for the judge's.
        RecursionError: One is nested too deeply.
    """
    objects, words, end = [], [], 0
    while (match := _OBJECT.search(text, end)) is not None:
        words.append(text[end : match.start()])
        found, end = _DECODER.raw_decode(text, match.start())
        objects.append(found)
    return objects, " ".join([*words, text[end:]])


def read_official(reply: str, *, last: bool) -> Reading:
    """Whatever the published script takes as scores; `last` is its second try."""
    if reply.count(_DELIMITER) == TRIES:
        start = reply.find(_DELIMITER) + len(_DELIMITER)
        end = reply.rfind(_DELIMITER)
    else:
        start, end = reply.find("{"), reply.rfind("}") + 1
        if start == -1 or end == 0:
            return Reading(problem=GUESSED) if last else _without_json(reply)
    if start == end:
        return Reading(problem="holds nothing between its delimiters")
    text = reply[start:end].strip().replace("\n", "")
    try:
        scores = json.loads(text)["score"]
    except (ValueError, LookupError, TypeError, RecursionError):
        try:
            scores = json.loads(_mended(text))["score"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return Reading(problem="holds JSON that is broken")
    return Reading(tuple(scores) if isinstance(scores, list) else (scores,))


def _without_json(reply: str) -> Reading:
    """A bare list of two whole numbers anywhere, or a whole number from 0 to 10 alone."""
    bare = reply[max(reply.find("["), 0) : reply.rfind("]") + 1]
    try:
        if _BARE_LIST.fullmatch(bare):
            return Reading(tuple(json.loads(bare)))
        number = int(reply)
    except ValueError:
        return Reading(problem="holds no JSON" if reply.strip() else "is empty")
    if 0 <= number <= _HIGHEST:
        return Reading((number,))
    return Reading(problem="holds no JSON")


def _mended(text: str) -> str:
    """Keys and words in quotation marks, numbers as lists of one."""
    text = _WORD_BEFORE_COLON.sub(r'"\1":', text)
    parts: list[str] = []
    done = 0
    # The script's `(".*?"):(.*?)([,}])` for the whole text, which takes cubic time as a pattern:
    # where one of its three marks is missing after a place, it is missing for all later ones.
    while (start := text.find('"', done)) >= 0:
        colon = text.find('":', start + 1) + 1
        end = _END_OF_VALUE.search(text, colon + 1)
        if not colon or end is None:
            break
        value = text[colon + 1 : end.start()].strip()
        if _NUMBER.fullmatch(value):
            value = f"[{value}]"
        elif not _CONSTANT.fullmatch(value):
            value = f'"{value}"'
        parts += text[done:start], text[start:colon], ": ", value, end.group()
        done = end.end()
    return "".join([*parts, text[done:]])
