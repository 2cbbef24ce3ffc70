"""GQA, ChartQA, POPE and MME: short answers that are compared nearly letter by letter."""

from __future__ import annotations

import string

from tasks.vqa.scorers import Document, Judged

_NO_MARKS = str.maketrans("", "", string.punctuation)
_TOLERANCE = 0.05
"""Share of a right number that ChartQA forgives."""
PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
"""MME's kinds of questions about what is to be seen; a full mark is 200 each."""
COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)
"""MME's kinds of questions that need thought; a full mark is 200 each."""
_HEAD = 4
"""First characters of a long reply that MME looks at."""


def equal_words(reply: str, answer: str) -> bool:
    """Equal in lower case without ASCII punctuation; spaces count."""
    return reply.lower().translate(_NO_MARKS) == answer.lower().translate(_NO_MARKS)


def gqa(document: Document, reply: str) -> Judged:
    """The answer and nothing else: 'a dog' is not 'dog'."""
    right = str(document["answer"])
    return Judged(float(equal_words(reply.strip(), right)), right, reply.strip())


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed_equal(reply: str, answer: str) -> bool:
    """Within 5% of a number other than 0, else equal in lower case (Masry et al. 2022).

    '10%' is 0.1, '1,000' is no number, and a right answer of '0' is compared as text.
    """
    said, right = _number(reply), _number(answer)
    if said is None or not right:
        return reply.lower() == answer.lower()
    return abs(said - right) / abs(right) <= _TOLERANCE


def chartqa(document: Document, reply: str) -> Judged:
    """Relaxed accuracy of one reply."""
    right = str(document["answer"])
    said = reply.strip()
    return Judged(float(relaxed_equal(said, right)), right, said)


def pope(document: Document, reply: str) -> Judged:
    """Literally yes or no: 'Yes.' is wrong, and neither a yes nor a no."""
    right = str(document["answer"]).lower().strip()
    said = reply.lower().strip()
    return Judged(float(said == right), right, said)


def mme(document: Document, reply: str) -> Judged:
    """Yes or no near the start."""
    right = str(document["answer"]).lower().strip().replace(".", "")
    said = yes_or_no(reply)
    return Judged(float(said == right), right, said)


def yes_or_no(reply: str) -> str:
    """'yes', 'no' or 'other': 'know' is a no, 'The answer is yes' is neither."""
    said = reply.lower().strip().replace(".", "")
    if len(said) == 1:
        return {"y": "yes", "n": "no"}.get(said, "other")
    head = said[:_HEAD]
    return next((word for word in ("yes", "no") if word in head), "other")
