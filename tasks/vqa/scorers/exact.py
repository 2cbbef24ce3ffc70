"""GQA: the same words but for case and punctuation."""

from __future__ import annotations

import string

from tasks.vqa.scorers.judged import Document, Judged

_NO_MARKS = str.maketrans("", "", string.punctuation)


def equal_words(reply: str, answer: str) -> bool:
    """Equal in lower case without ASCII punctuation; spaces count."""
    return reply.lower().translate(_NO_MARKS) == answer.lower().translate(_NO_MARKS)


def gqa(document: Document, reply: str) -> Judged:
    """The answer and nothing else: 'a dog' is not 'dog'."""
    right = str(document["answer"])
    return Judged(float(equal_words(reply.strip(), right)), right, reply.strip())
