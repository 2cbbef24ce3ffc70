"""Chat completions of an endpoint: a text with images, and the name of the limit of tokens."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from harness.interfaces.errors import UserError
from harness.judges import failures
from harness.judges.answers import first_tokens, reply_of
from harness.judges.endpoint import Endpoint
from harness.judges.exchange import JudgeRequest

_LIMITS = {"max_tokens", "max_completion_tokens"}
_PNG = b"\x89PNG"


class ChatCalls:
    """Requests for chat completions, all with the same settings.

    Args:
        endpoint: That is asked.
        max_tokens: Longest reply.
        temperature: Not sent where None.
        limit: The parameter's name that is tried first.
        body: More fields of every request.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        max_tokens: int,
        temperature: float | None,
        limit: str,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._first = self._limit = limit
        self._more = {"extra_body": dict(body)} if body else {}

    def of(self, request: JudgeRequest) -> Callable[[], dict[str, Any]]:
        """What sends this request."""
        return lambda: self._send(request)

    def drop_temperature(self) -> None:
        """Send none from now on."""
        self._temperature = None

    def _send(self, request: JudgeRequest) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": request.text}]
        for image in request.images:
            kind = "png" if image.startswith(_PNG) else "jpeg"
            encoded = base64.b64encode(image).decode("ascii")
            url = f"data:image/{kind};base64,{encoded}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        body: dict[str, Any] = {
            "model": self._endpoint.place.model,
            "messages": [{"role": "user", "content": content}],
            **self._more,
        }
        if self._temperature is not None:
            body["temperature"] = self._temperature
        if request.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        answer = self._within_limit(body)
        if request.top_logprobs and reply_of({"answer": answer}, None).text:
            self._check_probabilities(answer)
        return answer

    def _check_probabilities(self, answer: Mapping[str, Any]) -> None:
        if not first_tokens(answer):
            # Raised before the reply is kept, so that a server that learns it is asked again.
            place = self._endpoint.place
            raise UserError(
                f"{place.kind} endpoint {place.url}, model {place.model!r}, gives no token "
                f"probabilities: {failures.NO_LOGPROBS}"
            )

    def _within_limit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        from openai import APIStatusError

        limit = self._limit
        try:
            return self._post({**body, limit: self._max_tokens})
        except APIStatusError as error:
            # Endpoints differ in the name: the other one is tried once, and kept if it is taken.
            if limit == self._first and failures.lacks_parameter(error, limit):
                (other,) = _LIMITS - {limit}
                answer = self._post({**body, other: self._max_tokens})
                self._limit = other
                return answer
            raise

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._endpoint.send(
            lambda client: client.chat.completions.with_streaming_response.create(**body)
        )
