"""A judge behind any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.data.settings import Settings, read_settings
from harness.interfaces.errors import UserError
from harness.interfaces.observing import Once
from harness.interfaces.types import digest_of
from harness.judges import failures
from harness.judges.answers import read_answer, reply_of, storable
from harness.judges.cache import ReplyCache
from harness.judges.exchange import JudgeReply, JudgeRequest, JudgeSettings

if TYPE_CHECKING:
    from openai import APIError, OpenAI
    from tenacity import RetryCallState

KEYS = ("UWT_EVAL_JUDGE_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; it is read from nowhere else."""
USUAL_URL = "https://api.openai.com/v1"
_GIVE_UP_AFTER = 10
"""Requests in a row without a reply, after which the endpoint counts as down."""
_CHECK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint that fails is asked again."""

    attempts: int = 6
    first_wait: float = 1.0
    """Seconds before the second attempt; each wait after it is twice as long, with jitter."""
    longest_wait: float = 60.0


class OpenAIJudge:
    """Asks an endpoint and keeps every reply.

    Args:
        settings: The protocol's.
        patience: With an endpoint that fails.

    Raises:
        UserError: The endpoint's address is not a URL.
    """

    def __init__(self, settings: JudgeSettings, patience: Patience | None = None) -> None:
        self._settings = settings
        self._patience = patience or Patience()
        self._place: Settings = read_settings()
        self._url = _checked_url(
            self._place.judge_url or os.environ.get("OPENAI_BASE_URL") or USUAL_URL
        )
        self._limit: str = self._place.judge_token_limit
        self._cache = ReplyCache(self._place.cache / "judge-replies")
        self._client = Once(self._connect)
        self._pool = Once(lambda: ThreadPoolExecutor(self._place.judge_concurrency))
        self._under_way: dict[str, Future[JudgeReply]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._failed_in_a_row = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """The endpoint: the same name may be another model elsewhere."""
        return {"client": "openai", "version": 1, "endpoint": self._url}

    def check(self) -> None:
        """See that there is a key and that the endpoint answers; costs nothing."""
        from openai import APIConnectionError, APIError

        client = self._client().with_options(timeout=_CHECK_SECONDS)
        try:
            client.models.with_raw_response.list()
        except APIConnectionError as error:
            raise UserError(
                f"judge endpoint {self._url} cannot be reached "
                f"({failures.reason(error, _key())}): start it, or set UWT_EVAL_JUDGE_URL"
            ) from None
        except APIError as error:
            # Not every endpoint lists its models; that it answers is enough.
            if getattr(error, "status_code", None) != HTTPStatus.NOT_FOUND:
                self._stop_if_hopeless(error)

    def ask(self, requests: Sequence[JudgeRequest]) -> list[JudgeReply]:
        """Replies in order, kept ones at once, others by several threads."""
        waiting = [self._submit(request) for request in requests]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            self._stopping.set()  # Whoever waits to ask again stops waiting.
            for future in waiting:
                future.cancel()
            raise

    def _submit(self, request: JudgeRequest) -> Future[JudgeReply]:
        digest = self._digest(request)
        with self._lock:
            future = self._under_way.get(digest)
            if future is None:
                future = self._pool().submit(self._reply, digest, request)
                self._under_way[digest] = future
                future.add_done_callback(lambda _: self._under_way.pop(digest, None))
        return future

    def _digest(self, request: JudgeRequest) -> str:
        settings = self._settings.model_dump(exclude={"jpeg_quality"})
        return digest_of([dict(self.identity), settings, request.content()])

    def _reply(self, digest: str, request: JudgeRequest) -> JudgeReply:
        kept = self._cache.read(digest)
        if kept is not None:
            return reply_of(kept, self._place.judge_prices)
        fresh = self._request(request)
        if isinstance(fresh, str):
            self._count_failure(fresh)
            return JudgeReply(failure=fresh)
        self._cache.write(digest, fresh)
        self._failed_in_a_row = 0
        return reply_of(fresh, self._place.judge_prices)

    def _request(self, request: JudgeRequest) -> dict[str, Any] | str:
        """The endpoint's answer as it came, or why there is none."""
        from openai import APIError
        from tenacity import (
            Retrying,
            retry_if_exception,
            sleep_using_event,
            stop_after_attempt,
            stop_when_event_set,
        )

        attempts = stop_after_attempt(self._patience.attempts)
        try:
            return Retrying(
                stop=attempts | stop_when_event_set(self._stopping),
                wait=self._wait,
                sleep=sleep_using_event(self._stopping),
                retry=retry_if_exception(failures.is_passing),
                reraise=True,
            )(self._call, request)
        except APIError as error:
            if failures.is_refusal(error):
                return storable({"refusal": failures.reason(error, _key())})
            self._stop_if_hopeless(error)
            return failures.reason(error, _key())
        except (failures.Garbage, failures.TooLarge) as error:
            return failures.reason(error, _key())

    def _wait(self, state: RetryCallState) -> float:
        from tenacity import wait_exponential, wait_random

        error = state.outcome.exception() if state.outcome is not None else None
        asked = None if error is None else failures.asked_pause(error)
        if asked is not None:
            return asked
        first, longest = self._patience.first_wait, self._patience.longest_wait
        return float((wait_exponential(first, longest) + wait_random(0, first))(state))

    def _call(self, request: JudgeRequest) -> dict[str, Any]:
        from openai import APIStatusError

        content: list[dict[str, Any]] = [{"type": "text", "text": request.text}]
        for image in request.images:
            encoded = base64.b64encode(image).decode("ascii")
            url = f"data:image/jpeg;base64,{encoded}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": content}],
        }
        if self._settings.temperature is not None:
            body["temperature"] = self._settings.temperature
        limit = self._limit
        try:
            return {"answer": self._post({**body, limit: self._settings.max_tokens})}
        except APIStatusError as error:
            # Endpoints differ in the name: the other one is tried once, and kept if it is taken.
            if limit == self._place.judge_token_limit and failures.lacks_parameter(error, limit):
                (other,) = {"max_tokens", "max_completion_tokens"} - {limit}
                answer = self._post({**body, other: self._settings.max_tokens})
                self._limit = other
                return {"answer": answer}
            raise

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        from openai import APIError

        completions = self._client().chat.completions.with_streaming_response
        try:
            with completions.create(**body) as response:
                return read_answer(response.iter_bytes())
        except (APIError, failures.Garbage, failures.TooLarge):
            raise
        except Exception as error:  # Of httpx or httpx2, which of them is the package's choice.
            raise failures.Garbage(f"the answer broke off ({type(error).__name__})") from error

    def _stop_if_hopeless(self, error: APIError) -> None:
        why = failures.hopeless(error)
        if why:
            raise UserError(
                f"judge endpoint {self._url}, model {self._settings.model!r}: {why}: see "
                f"UWT_EVAL_JUDGE_URL, {' or '.join(KEYS)} and the protocol's judge, and run the "
                "same command again; replies so far are kept"
            ) from None

    def _count_failure(self, why: str) -> None:
        with self._lock:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _GIVE_UP_AFTER:
                raise UserError(
                    f"judge endpoint {self._url} gave no reply to {self._failed_in_a_row} requests "
                    f"in a row ({why}): run the same command again later, replies so far are kept"
                )

    def _connect(self) -> OpenAI:
        from openai import DefaultHttpxClient, OpenAI

        key = _key()
        if not key:
            raise UserError(
                f"no key for the judge endpoint {self._url}: set {KEYS[0]} or {KEYS[1]} in the "
                "environment (any text for an endpoint that asks for none)"
            )
        return OpenAI(
            api_key=key,
            base_url=self._url,
            timeout=self._place.judge_timeout,
            max_retries=0,
            http_client=DefaultHttpxClient(follow_redirects=False),
        )


def _key() -> str:
    return next((key for name in KEYS if (key := os.environ.get(name, "").strip())), "")


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise UserError("the judge's address is no http(s) URL: mend UWT_EVAL_JUDGE_URL")
    if parts.username or parts.password or parts.query:
        raise UserError(
            f"the judge's address holds more than a place ({parts.hostname}): leave keys out of "
            f"UWT_EVAL_JUDGE_URL and set {KEYS[0]}"
        )
    return url.rstrip("/")
