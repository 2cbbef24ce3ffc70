"""A service that speaks OpenAI's API: each answer is paid for once, kept, asked for patiently."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from harness.interfaces.errors import UserError
from harness.interfaces.extras import need
from harness.interfaces.observing import Once
from harness.judges import failures
from harness.judges.answers import Shape, read_answer, storable
from harness.judges.cache import ReplyCache

if TYPE_CHECKING:
    from openai import APIError, OpenAI
    from tenacity import RetryCallState

_USUAL_URL = "https://api.openai.com/v1"
_GIVE_UP_AFTER = 10
"""Requests in a row without an answer, after which the endpoint counts as down."""
_CHECK_SECONDS = 15.0
_LAST_SECONDS = 5.0
"""How long answers that are on their way are waited for when a run gives up."""


class Streamed(Protocol):
    """An answer whose bytes come as they are sent."""

    def iter_bytes(self) -> Iterable[bytes]:
        """The body, piece by piece."""
        ...


Call = Callable[["OpenAI"], AbstractContextManager[Streamed]]
"""Sends one request by a client."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint that fails is asked again."""

    attempts: int = 6
    first_wait: float = 1.0
    """Seconds before the second attempt; each wait after it is twice as long, with jitter."""
    longest_wait: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an endpoint is and how it is spoken of."""

    kind: str
    """What it is to the user: judge, model."""
    model: str
    url: str
    keys: tuple[str, ...]
    """Environment variables that may hold the key; it is read from nowhere else."""
    remedy: str
    """Where the user sets all this, for messages."""
    timeout: float
    """Seconds that an answer may take."""
    concurrency: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _checked_url(self.url, self))

    def key(self) -> str:
        """The key, '' where no variable holds one."""
        return next((key for name in self.keys if (key := os.environ.get(name, "").strip())), "")


def usual_url() -> str:
    """The address that OpenAI's own client takes where none is given."""
    return os.environ.get("OPENAI_BASE_URL") or _USUAL_URL


class Endpoint:
    """Asks an endpoint and keeps every answer; safe to call from several threads.

    Args:
        place: Address, model and key.
        shape: What an answer must look like.
        cache: Of the answers.
        patience: With an endpoint that fails.

    Raises:
        UserError: The client's packages are not installed.
    """

    def __init__(
        self, place: Place, shape: Shape, cache: ReplyCache, patience: Patience | None = None
    ) -> None:
        need(f"the {place.kind} {place.model}", "openai", "tenacity")
        self.place = place
        self._shape = shape
        self._cache = cache
        self._patience = patience or Patience()
        self._client = Once(self._connect)
        self._pool = Once(lambda: ThreadPoolExecutor(place.concurrency))
        self._under_way: dict[str, Future[dict[str, Any] | str]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._failed_in_a_row = 0

    def check(self) -> None:
        """See that there is a key and that the endpoint answers; costs nothing."""
        from openai import APIConnectionError, APIError

        client = self._client().with_options(timeout=_CHECK_SECONDS)
        try:
            client.models.with_raw_response.list()
        except APIConnectionError as error:
            raise UserError(
                f"{self._name} cannot be reached ({failures.reason(error, self.place.key())}): "
                f"start it, or see {self.place.remedy}"
            ) from None
        except APIError as error:
            # Not every endpoint lists its models; that it answers is enough.
            if getattr(error, "status_code", None) != HTTPStatus.NOT_FOUND:
                self._stop_if_hopeless(error)

    def ask(self, requests: Sequence[tuple[str, Callable[[], dict[str, Any]]]]) -> list[Any]:
        """Answers in order, kept ones at once, others by several threads.

        Args:
            requests: Digest of all that an answer depends on, and what sends the request (by
                `send`).

        Returns:
            For each `{"answer": …}`, `{"refusal": …}`, or a text that says why there is none.

        Raises:
            UserError: Going on makes no sense.
        """
        waiting = [self._submit(digest, send) for digest, send in requests]
        try:
            return [future.result() for future in waiting]
        except BaseException as error:
            self._stopping.set()  # Whoever waits to ask again stops waiting.
            for future in waiting:
                future.cancel()
            if isinstance(error, Exception):  # What is on its way is paid for: it may still come.
                wait(waiting, timeout=_LAST_SECONDS)
            raise

    def send(self, call: Call) -> dict[str, Any]:
        """Send one request and read its answer, within limits."""
        from openai import APIError

        try:
            with call(self._client()) as response:
                return read_answer(response.iter_bytes(), self._shape)
        except (APIError, failures.Garbage, failures.TooLarge):
            raise
        except Exception as error:  # Of httpx or httpx2, which of them is the package's choice.
            raise failures.Garbage(f"the answer broke off ({type(error).__name__})") from error

    @property
    def _name(self) -> str:
        return f"{self.place.kind} endpoint {self.place.url}"

    def _submit(
        self, digest: str, send: Callable[[], dict[str, Any]]
    ) -> Future[dict[str, Any] | str]:
        with self._lock:
            future = self._under_way.get(digest)
            if future is None:
                future = self._pool().submit(self._answer, digest, send)
                self._under_way[digest] = future
                future.add_done_callback(lambda _: self._under_way.pop(digest, None))
        return future

    def _answer(self, digest: str, send: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
        kept = self._cache.read(digest, self._shape)
        if kept is not None:
            return kept
        fresh = self._request(send)
        if isinstance(fresh, str):
            self._count_failure(fresh)
            return fresh
        self._cache.write(digest, fresh)
        self._failed_in_a_row = 0
        return fresh

    def _request(self, send: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
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
            answer = Retrying(
                stop=attempts | stop_when_event_set(self._stopping),
                wait=self._wait,
                sleep=sleep_using_event(self._stopping),
                retry=retry_if_exception(failures.is_passing),
                reraise=True,
            )(send)
        except APIError as error:
            why = failures.reason(error, self.place.key())
            if failures.is_refusal(error):
                return storable({"refusal": why})
            self._stop_if_hopeless(error)
            return why
        except (failures.Garbage, failures.TooLarge) as error:
            return failures.reason(error, self.place.key())
        return {"answer": answer}

    def _wait(self, state: RetryCallState) -> float:
        from tenacity import wait_exponential, wait_random

        error = state.outcome.exception() if state.outcome is not None else None
        asked = None if error is None else failures.asked_pause(error)
        if asked is not None:
            return asked
        first, longest = self._patience.first_wait, self._patience.longest_wait
        return float((wait_exponential(first, longest) + wait_random(0, first))(state))

    def _stop_if_hopeless(self, error: APIError) -> None:
        why = failures.hopeless(error)
        if why:
            raise UserError(
                f"{self._name}, model {self.place.model!r}: {why}: see {self.place.remedy}, and "
                "run the same command again; replies so far are kept"
            ) from None

    def _count_failure(self, why: str) -> None:
        with self._lock:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _GIVE_UP_AFTER:
                raise UserError(
                    f"{self._name} gave no reply to {self._failed_in_a_row} requests in a row "
                    f"({why}): run the same command again later, replies so far are kept"
                )

    def _connect(self) -> OpenAI:
        from openai import DefaultHttpxClient, OpenAI

        key, names = self.place.key(), " or ".join(self.place.keys)
        if not key:
            raise UserError(
                f"no key for the {self._name}: set {names} in the environment (any text for an "
                "endpoint that asks for none)"
            )
        return OpenAI(
            api_key=key,
            base_url=self.place.url,
            timeout=self.place.timeout,
            max_retries=0,
            http_client=DefaultHttpxClient(follow_redirects=False),
        )


def _checked_url(url: str, place: Place) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise UserError(f"the {place.kind}'s address is no http(s) URL: mend {place.remedy}")
    if parts.username or parts.password or parts.query:
        raise UserError(
            f"the {place.kind}'s address holds more than a place ({parts.hostname}): mend "
            f"{place.remedy}; a key is set in the environment alone"
        )
    return url.rstrip("/")
