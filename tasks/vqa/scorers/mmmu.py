"""MMMU: options that are found in free replies, and open questions with several candidates.

The rules are those of MMMU's own evaluation (Yue et al. 2024) as lmms-eval applies them, but for
one: a reply in which no option can be found is a failure of its own here, not a random option.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from tasks.vqa.scorers import Document, Judged, UnparsedReply

_TRIMMED = (",", ".", "!", "?", ";", ":", "'")
_SHORT = 5
"""Words up to which a reply is not searched for an option's text."""
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
"""With thousands separated, with an exponent, plain."""
_SENTENCE_END = re.compile(r"\.\s(?=[A-Z])|\n")
_INDICATORS = (
    "could be ",
    "so ",
    "is ",
    "thus ",
    "therefore ",
    "final ",
    "answer ",
    "result ",
)
_TRIVIAL = set(":,.!?;'")


def mmmu(document: Document, reply: str) -> Judged:
    """Score one reply; raise `UnparsedReply` where no option can be found in it."""
    right = document["answer"]
    said = reply.strip()
    if document["question_type"] == "multiple-choice":
        letter = find_option(said, ast.literal_eval(document["options"]))
        golds = right if isinstance(right, list) else [right]
        return Judged(float(letter in golds), ", ".join(map(str, golds)), letter)
    found = candidates(said)
    shown = right if isinstance(right, str) else ", ".join(right)
    return Judged(
        float(open_match(right, found)), shown, " | ".join(map(str, sorted(found, key=str)))
    )


def find_option(reply: str, options: Sequence[str]) -> str:
    """The letter of the option that a reply names; raise `UnparsedReply` where it names none.

    Looked for in this order: (B), 'B ', 'B.', and in replies of more than five words an option's
    text. Of several the last named counts; where 'B.' named them all, the first.
    """
    for mark in _TRIMMED:
        reply = reply.strip(mark)
    text = f" {reply} "  # So that a letter at either end has a space beside it too.
    texts = {chr(ord("A") + place): option for place, option in enumerate(options)}
    for form, last in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        found = [letter for letter in texts if form.format(letter) in text]
        if found:
            # Models reason first and conclude last. 'B.' is sought again as ' B ', which does not
            # occur then: all places are -1 and the first letter wins, as in the published code.
            return max(found, key=lambda letter: text.rfind(last.format(letter)))
    lower = text.lower()
    found = [letter for letter, option in texts.items() if option.lower() in lower]
    if not found or len(text.split()) <= _SHORT:
        raise UnparsedReply(f"no option is named in the reply {reply[:80]!r}", len(texts))
    return max(found, key=lambda letter: lower.rfind(texts[letter].lower()))


def candidates(reply: str) -> set[str | float]:
    """Everything in a reply to an open question that may be its answer, normalised."""
    parts = _key_parts(reply)
    numbers = [number for part in parts for form in _NUMBERS for number in form.findall(part)]
    return {form for part in [*parts, *numbers] for form in _normalised(part)}


def open_match(answer: str | Sequence[str], found: set[str | float]) -> bool:
    """Whether a candidate is the number, or holds the text, that is the answer."""
    answers = [answer] if isinstance(answer, str) else answer
    golds = [form for text in answers for form in _normalised(text)]
    words = [gold for gold in golds if isinstance(gold, str)]
    return any(
        any(word in item for word in words) if isinstance(item, str) else item in golds
        for item in found
    )


def _key_parts(reply: str) -> list[str]:
    """What follows the last word that announces an answer, sentence by sentence."""
    text = reply.strip().strip(".").lower()
    sentences = _SENTENCE_END.split(text)
    parts = []
    for place, sentence in enumerate(sentences):
        last = place == len(sentences) - 1
        marks = (*_INDICATORS, "=") if last else _INDICATORS
        tails = [sentence.split(mark)[-1].strip() for mark in marks if mark in sentence]
        # As released, an empty tail is replaced by the next one, however long.
        shortest = ""
        for tail in tails:
            if not shortest or len(tail) < len(shortest):
                shortest = tail
        if shortest and shortest not in _TRIVIAL:
            parts.append(shortest)
    return parts or [text]


def _normalised(text: str) -> list[str | float]:
    """A number rounded to two decimals, or lower case; a lone letter must stand apart."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lower = text.lower()
    return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]
