"""A chat-completions endpoint on this machine that can fail in every way that real ones do."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("429", "500", "timeout", "garbage", "refusal")


class Endpoint:
    """What was asked, and what to answer.

    Args:
        answer: The reply's text, made from the text and the images of a request.
        fault: One of `FAULTS`, '400-filter', '401', '404', 'quota', 'null' or '' for a request by
            its number; each call counts.
    """

    def __init__(
        self,
        answer: Callable[[str, list[bytes]], str] = lambda text, images: "fine",
        fault: Callable[[int], str] = lambda number: "",
    ) -> None:
        self.answer = answer
        self.fault = fault
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.paid: Counter[str] = Counter()
        """Replies given, by digest of the request's body."""
        self.faults: Counter[str] = Counter()
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()
        self.before: Callable[[int], None] = lambda number: None
        self.url = ""
        self.unknown: tuple[str, ...] = ()
        """Parameters that are turned down."""
        self.usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 10}
        self.location = ""
        """Where a fault of '307' sends on to."""
        self.silence = 1.0
        """Seconds after which a fault of 'timeout' hangs up without an answer."""
        self.pause: float | None = None
        """Seconds that a fault of '500' asks to wait for; None where it names none."""
        self.probabilities: Callable[[str, list[bytes]], dict[str, float]] | None = None
        """Of first tokens, by the text and the images of a request; None gives none."""
        self.model: Callable[[str], str] = lambda asked: f"{asked}-2025-04-14"
        """What it says that it is, by what was asked for."""
        self.draw: Callable[[dict[str, Any]], bytes] = lambda body: b""
        """The file of a picture, by the fields of its request; an image to edit is one of them."""


def _fields(headers: Message, content: bytes) -> dict[str, Any]:
    """Fields of a JSON body or of a form with files."""
    kind = headers["content-type"]
    if not kind.startswith("multipart/"):
        fields: dict[str, Any] = json.loads(content)
        return fields
    form = message_from_bytes(f"content-type: {kind}\r\n\r\n".encode() + content)
    parts = [part for part in form.walk() if not part.is_multipart()]
    found: dict[str, Any] = {}
    for part in parts:
        name = str(part.get_param("name", header="content-disposition"))
        value = part.get_payload(decode=True)
        assert isinstance(value, bytes)
        found[name] = value.hex() if part.get_filename() else value.decode()
    return found


class _Handler(BaseHTTPRequestHandler):
    endpoint: Endpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.endpoint.fault(-1) == "401":
            self._error(401, {"message": "Incorrect API key provided: sk-secret-9***xyz"})
            return
        self._send(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        endpoint = self.endpoint
        body = _fields(self.headers, self.rfile.read(int(self.headers["content-length"])))
        with endpoint.lock:
            number = len(endpoint.bodies)
            endpoint.bodies.append(body)
            endpoint.keys.add(self.headers["authorization"])
            endpoint.at_once += 1
            endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
            fault = endpoint.fault(number)
            endpoint.faults[fault] += 1
        try:
            endpoint.before(number)
        finally:
            with endpoint.lock:  # Before the answer, on which the next request may follow at once.
                endpoint.at_once -= 1
        self._answer(body, fault)

    def _answer(self, body: dict[str, Any], fault: str) -> None:
        endpoint = self.endpoint
        unknown = next((name for name in endpoint.unknown if name in body), "")
        if unknown:
            said = f"Unsupported parameter: '{unknown}' is not supported with this model."
            self._error(400, {"message": said, "code": "unsupported_parameter"})
        elif fault == "307":
            self._send(307, {}, {"location": endpoint.location})
        elif fault == "cut":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
        elif fault == "endless":
            self._send(200, b" " * 5_000_000)
        elif fault == "429":
            self._error(429, {"message": "slow down"}, {"retry-after": "0.01"})
        elif fault == "500":
            pause = {} if endpoint.pause is None else {"retry-after": str(endpoint.pause)}
            self._error(500, {"message": "oops"}, pause)
        elif fault == "timeout":
            time.sleep(endpoint.silence)
            self.close_connection = True
        elif fault == "garbage":
            self._send(200, b"<html>bad gateway</html>")
        elif fault == "400-filter":
            self._error(400, {"message": "filtered", "code": "content_filter"})
        elif fault == "400":
            self._error(400, {"message": "image too large"})
        elif fault == "400-large":
            self._error(400, {"message": "max_tokens is too large: 1400"})
        elif fault == "401":
            self._error(401, {"message": "Incorrect API key provided: sk-secret-9***xyz"})
        elif fault == "404":
            self._error(404, {"message": "no such model"})
        elif fault == "quota":
            self._error(429, {"message": "pay", "code": "insufficient_quota"})
        elif "prompt" in body:
            picture = endpoint.draw(body)
            encoded = base64.b64encode(picture).decode("ascii")
            self._send(200, {"created": 1, "data": [{"b64_json": encoded}]})
        else:
            content = body["messages"][0]["content"]
            images = [
                base64.b64decode(part["image_url"]["url"].partition(",")[2])
                for part in content
                if part["type"] == "image_url"
            ]
            message: dict[str, Any] = {"role": "assistant", "refusal": None}
            if fault == "refusal":
                message |= {"content": None, "refusal": "I cannot help with that."}
            elif fault == "null":
                message |= {"content": None}
            else:
                text = next(part["text"] for part in content if part["type"] == "text")
                message |= {"content": endpoint.answer(text, images)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            if body.get("logprobs") and endpoint.probabilities is not None and not fault:
                told = endpoint.probabilities(text, images)
                message |= {"content": max(told, key=told.__getitem__)}
                likeliest = [
                    {"token": token, "logprob": math.log(each)}
                    for token, each in sorted(told.items(), key=lambda pair: -pair[1])
                ][: body["top_logprobs"]]
                first = {**likeliest[0], "top_logprobs": likeliest}
                choice |= {"logprobs": {"content": [first]}}
            with endpoint.lock:
                endpoint.paid[hashlib.sha256(json.dumps(body).encode()).hexdigest()] += 1
            self._send(
                200,
                {
                    "model": endpoint.model(body["model"]),
                    "choices": [choice],
                    "usage": endpoint.usage,
                },
            )

    def _error(
        self, status: int, error: dict[str, str], headers: dict[str, str] | None = None
    ) -> None:
        self._send(status, {"error": error}, headers)

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        try:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # The client is gone.


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has hung up, as one that was killed."""


@contextmanager
def serving(endpoint: Endpoint, port: int = 0) -> Iterator[Endpoint]:
    """Serve on a port of this machine; `endpoint.url` is its base URL."""
    handler = type("Handler", (_Handler,), {"endpoint": endpoint})
    server = _Server(("127.0.0.1", port), handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def one_in_five(seed: int = 0) -> Callable[[int], str]:
    """A fault in a fifth of all calls, each kind as often."""

    def fault(number: int) -> str:
        drawn = random.Random(f"{seed}/{number}").random()
        return FAULTS[int(drawn * 25)] if drawn < 0.2 else ""

    return fault
