"""A judge behind any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from harness.data.settings import read_settings
from harness.interfaces.errors import UserError, warn
from harness.interfaces.types import digest_of
from harness.judges.answers import CHAT, reply_of
from harness.judges.cache import ReplyCache
from harness.judges.chat import ChatCalls
from harness.judges.endpoint import Endpoint, Patience, Place, usual_url
from harness.judges.exchange import JudgeReply, JudgeRequest, JudgeSettings
from harness.judges.failures import Garbage, TooLarge, lacks_parameter, reason

KEYS = ("UWT_EVAL_JUDGE_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; it is read from nowhere else."""

_ANY_QUESTION = JudgeRequest("Answer with the word yes.")


class OpenAIJudge:
    """Asks an endpoint and keeps every reply.

    Args:
        settings: The protocol's.
        patience: With an endpoint that fails.

    Raises:
        UserError: The endpoint's address is not a URL.
    """

    def __init__(self, settings: JudgeSettings, patience: Patience | None = None) -> None:
        here = read_settings()
        place = Place(
            kind="judge",
            model=settings.model,
            url=here.judge_url or usual_url(),
            keys=KEYS,
            remedy=f"UWT_EVAL_JUDGE_URL, {' or '.join(KEYS)} and the protocol's judge",
            timeout=here.judge_timeout,
            concurrency=here.judge_concurrency,
        )
        self._settings = settings
        self._prices = here.judge_prices
        self._cache = ReplyCache(here.cache / "judge-replies")
        self._endpoint = Endpoint(place, CHAT, self._cache, patience)
        self._calls = ChatCalls(
            self._endpoint, settings.max_tokens, settings.temperature, here.judge_token_limit
        )

    @functools.cached_property
    def identity(self) -> Mapping[str, Any]:
        """The endpoint, since the same name may be another model elsewhere; what it does not take.

        Where the protocol names a temperature, the endpoint is asked once whether it takes it.
        """
        url, temperature = self._endpoint.place.url, self._settings.temperature
        known = {"client": "openai", "version": 1, "endpoint": url}
        if temperature is None or self._takes(temperature):
            return known
        warn(
            f"judge endpoint {url}, model {self._settings.model!r}, takes no temperature of "
            f"{temperature}: none is sent, and the record says so"
        )
        self._calls.drop_temperature()
        return {**known, "temperature": f"{temperature} is not taken here: none is sent"}

    def _takes(self, temperature: float) -> bool:
        """Whether requests with that temperature are answered, true where nobody answers at all.

        Who does not answer now is named by `check`, before any question of a run.
        """
        from openai import OpenAIError

        place = self._endpoint.place
        digest = digest_of(["temperature", place.url, place.model, temperature])
        kept = self._cache.read(digest, CHAT)
        if kept is None:
            try:
                kept = {"answer": self._calls.of(_ANY_QUESTION)()}
            except (OpenAIError, UserError, Garbage, TooLarge) as error:
                if not lacks_parameter(error, "temperature"):
                    return True
                kept = {"refusal": reason(error, place.key())}
            self._cache.write(digest, kept)
        return "refusal" not in kept

    def check(self) -> None:
        """See that there is a key and that the endpoint answers; costs nothing."""
        self._endpoint.check()

    def ask(self, requests: Sequence[JudgeRequest]) -> list[JudgeReply]:
        """Replies in order, kept ones at once, others by several threads."""
        place = self._endpoint.place
        digests = [self._digest(each) for each in requests]
        sending = map(self._calls.of, requests)
        found = self._endpoint.ask(list(zip(digests, sending, strict=True)))
        replies = [reply_of(each, self._prices) for each in found]
        names = dict.fromkeys(each.model for each in replies)
        for other in (name for name in names if not _is_called(name, place.model)):
            warn(
                f"judge endpoint {place.url} was asked for model {place.model!r} and answers as "
                f"{other!r}: figures are that one's"
            )
        return replies

    def _digest(self, request: JudgeRequest) -> str:
        settings = self._settings.model_dump(exclude={"jpeg_quality"})
        return digest_of([dict(self.identity), settings, request.content()])


def _is_called(answered: str, asked: str) -> bool:
    """Whether a snapshot's name may be that of the model: 'gpt-4.1-2025-04-14' is a 'gpt-4.1'."""
    one, other = (name.rpartition("/")[2].casefold() for name in (answered, asked))
    return one in other or other in one
