"""POPE and MME: questions that are answered with yes or no."""

from __future__ import annotations

from tasks.vqa.scorers.judged import Document, Judged

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
