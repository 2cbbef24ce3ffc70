"""What an endpoint's errors mean: wait and ask again, a refusal, or the end of the run."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import APIError, APIStatusError

_LONGEST_REASON = 200
_LONGEST_PAUSE = 600.0
"""Seconds that an endpoint may ask to wait for."""
_KEY_LIKE = re.compile(r"\b(sk|key|pk)-[\w*.\-]+|(?i:bearer)\s+\S+")
_UNKNOWN = re.compile(
    r"(?i)unsupported|not support|unknown|unrecogni[sz]ed|unexpected|extra|permitted"
)
"""Words of endpoints about a parameter that they do not take."""
_HOPELESS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the key is refused",
    HTTPStatus.PAYMENT_REQUIRED: "the account is out of credit",
    HTTPStatus.FORBIDDEN: "the key may not use this endpoint or model",
    HTTPStatus.NOT_FOUND: "the endpoint or the model does not exist there",
}


NO_LOGPROBS = (
    "soft scores need `logprobs`; take a server that gives them, or a protocol that scores hard "
    "answers"
)


class Garbage(Exception):
    """An answer that cannot be used: no JSON, or without a choice."""


class TooLarge(Exception):
    """An answer that is larger than any reply; asking again would be paid again."""


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIConnectionError | Garbage):
        return True
    if not isinstance(error, APIStatusError) or _code(error) == "insufficient_quota":
        return False
    return error.status_code in {408, 409, 425, 429} or error.status_code >= 500


def hopeless(error: APIError) -> str:
    """Why no further request can succeed; empty where others may."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 300 <= status < 400:
        # Followed, it would hand pictures and prompts to a place that nobody chose.
        target = str(error.response.headers.get("location", "elsewhere"))  # type: ignore[attr-defined]
        return f"it sends on to {target[:_LONGEST_REASON]!r}, which is not followed"
    if lacks_parameter(error, "temperature"):
        # Left out silently, replies would be another protocol's.
        return "it takes no such temperature: leave it out of the protocol's judge"
    if status in {400, 403, 422} and "logprobs" in str(error):
        # Not only where the name is unknown: some take it and allow it for none of their models.
        return f"it gives no token probabilities ({redacted(str(error), '')}): {NO_LOGPROBS}"
    if _code(error) == "insufficient_quota":
        return "the account's quota is spent"
    return _HOPELESS.get(status, "") if isinstance(status, int) else ""


def lacks_parameter(error: BaseException, name: str) -> bool:
    """Whether the endpoint turned a request down because it does not know this parameter."""
    if getattr(error, "status_code", None) not in {400, 422}:
        return False
    body: APIError = error  # type: ignore[assignment]
    named = _body(body).get("param") == name or name in str(error)
    return named and bool(_UNKNOWN.search(f"{_code(body)} {error}"))


def is_refusal(error: APIError) -> bool:
    """Whether a filter of the endpoint declined the request's content."""
    words = f"{_code(error)} {_body(error).get('type', '')}".lower()
    return "content_filter" in words or "content_policy" in words


def asked_pause(error: BaseException) -> float | None:
    """Seconds that the endpoint asks to wait for; None where it names none."""
    response = getattr(error, "response", None)
    header = None if response is None else response.headers.get("retry-after")
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_PAUSE)


def reason(error: BaseException, key: str) -> str:
    """One line for people, in which no part of a key is left."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APITimeoutError):
        return "no answer in time"
    if isinstance(error, APIConnectionError):
        return "no connection"
    if isinstance(error, APIStatusError):
        message = _body(error).get("message")
        said = f": {message}" if isinstance(message, str) and message else ""
        return redacted(f"HTTP {error.status_code}{said}", key)
    return redacted(str(error), key)


def redacted(text: str, key: str) -> str:
    """One line of the text, shortened, without the key or anything that looks like one."""
    line = " ".join((text.replace(key, "…") if key else text).split())
    return _KEY_LIKE.sub("…", line)[:_LONGEST_REASON]


def _body(error: APIError | APIStatusError) -> dict[str, Any]:
    return error.body if isinstance(error.body, dict) else {}


def _code(error: APIError | APIStatusError) -> str:
    return str(_body(error).get("code", ""))
