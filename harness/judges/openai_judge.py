"""A judge behind any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.data.settings import read_settings
from harness.interfaces.types import digest_of
from harness.judges.answers import CHAT, reply_of
from harness.judges.cache import ReplyCache
from harness.judges.chat import ChatCalls
from harness.judges.endpoint import Endpoint, Patience, Place, usual_url
from harness.judges.exchange import JudgeReply, JudgeRequest, JudgeSettings

KEYS = ("UWT_EVAL_JUDGE_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; it is read from nowhere else."""


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
        self._endpoint = Endpoint(place, CHAT, ReplyCache(here.cache / "judge-replies"), patience)
        self._calls = ChatCalls(
            self._endpoint, settings.max_tokens, settings.temperature, here.judge_token_limit
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """The endpoint: the same name may be another model elsewhere."""
        return {"client": "openai", "version": 1, "endpoint": self._endpoint.place.url}

    def check(self) -> None:
        """See that there is a key and that the endpoint answers; costs nothing."""
        self._endpoint.check()

    def ask(self, requests: Sequence[JudgeRequest]) -> list[JudgeReply]:
        """Replies in order, kept ones at once, others by several threads."""
        found = self._endpoint.ask(
            [(self._digest(each), self._calls.of(each)) for each in requests]
        )
        return [reply_of(each, self._prices) for each in found]

    def _digest(self, request: JudgeRequest) -> str:
        settings = self._settings.model_dump(exclude={"jpeg_quality"})
        return digest_of([dict(self.identity), settings, request.content()])
