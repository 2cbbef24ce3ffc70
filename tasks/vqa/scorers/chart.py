"""ChartQA's relaxed accuracy: numbers within 5%, other answers letter by letter."""

from __future__ import annotations

from tasks.vqa.scorers.judged import Document, Judged

_TOLERANCE = 0.05


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
