"""An endpoint's answer: read within limits, made fit to be kept, and as a reply."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.judges.exchange import JudgeReply
from harness.judges.failures import Garbage, TooLarge

_LONGEST_TEXT = 100_000
"""Characters of a reply that are handed on."""
_WHOLE = 1.01
"""Sum of probabilities that servers have rounded."""
_MOST = 1e12
"""No count of tokens and no price of one answer comes near it."""


@dataclass(frozen=True)
class Shape:
    """What answers of one kind look like."""

    check: Callable[[Any], None]
    """Raises `LookupError`, `TypeError` or `ValueError` for any other JSON."""
    largest: int
    """Bytes of an answer."""


def read_answer(chunks: Iterable[bytes], shape: Shape) -> dict[str, Any]:
    """A whole answer, of which every text can be written to any file.

    Raises:
        TooLarge: It has more bytes than answers of its kind; the rest is not read.
        Garbage: It is no JSON, or of another shape.
    """
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > shape.largest:
            raise TooLarge(f"the endpoint's answer is larger than {shape.largest >> 20} MiB")
    try:
        answer = storable(json.loads(content))
        shape.check(answer)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise Garbage("the endpoint's answer holds no reply") from error
    return answer


def _check_chat(answer: Any) -> None:
    choice = answer["choices"][0]
    message = choice["message"]
    message["content"]
    if not all(isinstance(each, dict) for each in (answer, choice, message)):
        raise TypeError("no message")


CHAT = Shape(_check_chat, 4 * 2**20)
"""An answer with a message; replies of thousands of tokens are some tens of kilobytes."""


def storable(content: dict[str, Any]) -> dict[str, Any]:
    """The same JSON with U+FFFD for halves of surrogate pairs, which only JSON can hold."""
    text = json.dumps(content, ensure_ascii=False)
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    mended: dict[str, Any] = json.loads(whole)
    return mended


def reply_of(kept: Mapping[str, Any] | str, prices: tuple[float, float] | None) -> JudgeReply:
    """What an endpoint said in a chat.

    Args:
        kept: `{"answer": …}` as the endpoint gave it, `{"refusal": …}`, or why there is neither.
        prices: US dollars per million tokens asked and answered, where the answer tells no costs.
    """
    if isinstance(kept, str):
        return JudgeReply(failure=kept)
    if "answer" not in kept:
        return JudgeReply(refusal=str(kept.get("refusal") or "declined"))
    answer = kept["answer"]
    choice = answer["choices"][0]
    usage = answer["usage"] if isinstance(answer.get("usage"), dict) else {}
    prompt, completion = (
        int(_number(usage.get(name)) or 0) for name in ("prompt_tokens", "completion_tokens")
    )
    cost = _number(usage.get("cost"))
    if cost is None and prices is not None:
        cost = (prompt * prices[0] + completion * prices[1]) / 1e6
    refusal = str(choice["message"].get("refusal") or "")
    if choice.get("finish_reason") == "content_filter":
        refusal = refusal or "content filter"
    return JudgeReply(
        text=_plain(choice["message"]["content"])[:_LONGEST_TEXT],
        refusal=refusal[:_LONGEST_TEXT],
        model=str(answer.get("model") or "")[:_LONGEST_TEXT],
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=cost,
        first_tokens=first_tokens(answer),
    )


def first_tokens(answer: Mapping[str, Any]) -> dict[str, float]:
    """Probabilities of the likeliest first tokens; empty where the endpoint told none."""
    try:
        told = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        found = {str(each["token"]): math.exp(min(each["logprob"], 0.0)) for each in told}
    except (LookupError, TypeError):
        return {}
    # Raw logits, which some servers give under that name, add up to more than 1; NaN to nothing.
    return found if sum(found.values()) <= _WHOLE else {}


def _number(value: Any) -> float | None:
    """A count or a sum of money; None for anything else, NaN among it."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST
    return float(value) if known else None


def _plain(content: Any) -> str:
    """The words of a message: a text, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
