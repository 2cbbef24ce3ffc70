"""Served models: `openai-chat:MODEL@URL` answers, `openai-images:MODEL@URL` draws and edits.

Anything that speaks OpenAI's API will do. Every answer is kept, so that a run that is started again
pays for nothing twice. Which weights answer is the endpoint's word: labels say `served`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from pydantic import Field

from harness.baselines.hub import named, until
from harness.baselines.lossless import StoredAsPng, png
from harness.data.settings import read_settings
from harness.interfaces import Argument, Code, Question
from harness.interfaces.errors import SampleFailure
from harness.interfaces.types import ModelCard, Status, digest_of
from harness.judges.answers import CHAT, Shape, reply_of
from harness.judges.cache import ReplyCache
from harness.judges.chat import ChatCalls
from harness.judges.endpoint import Endpoint, Place, usual_url
from harness.judges.exchange import JudgeRequest
from uwt_images.decoding import RASTER_FORMATS

if TYPE_CHECKING:
    pass

KEYS = ("UWT_EVAL_MODEL_KEY", "OPENAI_API_KEY")
_LARGEST_PICTURES = 128 * 2**20


@dataclass(eq=False)
class ServedModel:
    """A model behind an endpoint: its address, and the answers that are kept."""

    address: Annotated[
        str, Argument("MODEL@URL"), "The model as the endpoint calls it; after an @ the address."
    ]
    concurrency: Annotated[int, Field(ge=1, le=256), "Requests at a time."] = 8
    timeout: Annotated[float, Field(gt=0), "Seconds that an answer may take."] = 300.0
    body: Annotated[dict[str, Any], "More fields of every request, as JSON."] = field(
        default_factory=dict
    )

    concurrent = True
    works_on = "elsewhere"

    _shape = CHAT
    _name = ""

    @property
    def best_batch(self) -> int:
        """As many samples at a time as requests."""
        return self.concurrency

    @functools.cached_property
    def _endpoint(self) -> Endpoint:
        model, at, url = self.address.rpartition("@")
        if not at:
            model, url = self.address, usual_url()
        place = Place(
            kind="model",
            model=model,
            url=url,
            keys=KEYS,
            remedy=f"--model {self._name}:MODEL@URL and {' or '.join(KEYS)}",
            timeout=self.timeout,
            concurrency=self.concurrency,
        )
        return Endpoint(place, self._shape, ReplyCache(read_settings().cache / "model-replies"))

    @property
    def _options(self) -> dict[str, Any]:
        """Fields of the request that decide what comes back."""
        return dict(self.body)

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from the address, the name there, and what is asked."""
        place = self._endpoint.place
        return ModelCard(
            name=self._name,
            label=f"{place.model} served by {urlsplit(place.url).netloc}"
            + named({name: _written(value) for name, value in self._options.items()}, {}),
            config={"endpoint": place.url, "model": place.model, "request": self._options},
        )

    def load(self, device: str) -> None:
        """See that the endpoint answers."""
        del device
        self._endpoint.check()

    def _digest(self, *content: object) -> str:
        return digest_of([self.card.config, *content])


@dataclass(eq=False)
class ServedChat(ServedModel):
    """Answers questions about images by chat completions, the images as PNG."""

    temperature: Annotated[float | None, "Not sent where none."] = 0.0
    limit: Annotated[
        Literal["max_tokens", "max_completion_tokens"], "Its name for the longest reply."
    ] = "max_tokens"

    _name = "openai-chat"

    @property
    def _options(self) -> dict[str, Any]:
        return {**self.body, "temperature": self.temperature}

    def reply(
        self, questions: Sequence[Question], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[str]:
        """Answer each question, up to the first of `stop`; a refusal is a reply."""
        calls = ChatCalls(
            self._endpoint, max_new_tokens, self.temperature, self.limit, body=self.body
        )
        requests = []
        for question in questions:
            images = [png(Image.fromarray(image)).payload for image in question.images]
            request = JudgeRequest(question.text, images)
            digest = self._digest(request.content(), max_new_tokens)
            requests.append((digest, calls.of(request)))
        replies = [reply_of(found, None) for found in self._endpoint.ask(requests)]
        if failed := [reply.failure for reply in replies if reply.failure]:
            raise SampleFailure(Status.MODEL_ERROR, f"no reply ({failed[0]})")
        return [until(reply.text or reply.refusal, stop) for reply in replies]


def _check_pictures(answer: Any) -> None:
    base64.b64decode(answer["data"][0]["b64_json"], validate=True)


@dataclass(eq=False)
class ServedPictures(StoredAsPng, ServedModel):
    """Draws prompts by `/images/generations`, and edits images by `/images/edits`."""

    size: Annotated[str | None, Field(pattern=r"^\d+x\d+$"), "As 1024x1024; the server's own."] = (
        None
    )
    seeds: Annotated[bool, "Send each sample's seed: not all servers take one."] = True

    _name = "openai-images"
    _shape = Shape(_check_pictures, _LARGEST_PICTURES)

    @property
    def _options(self) -> dict[str, Any]:
        return {**self.body, **self._sized, "seeds": self.seeds}

    @property
    def _sized(self) -> dict[str, str]:
        return {} if self.size is None else {"size": self.size}

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each prompt."""

        def request(prompt: str, seed: int) -> Callable[[], dict[str, Any]]:
            fields = self._fields(prompt, seed)
            return lambda: self._endpoint.send(
                lambda client: client.images.with_streaming_response.generate(**fields)
            )

        return self._drawn(
            [
                (self._digest("draw", prompt, seed), request(prompt, seed))
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]
        )

    def edit(
        self, instructions: Sequence[str], images: Sequence[np.ndarray], seeds: Sequence[int]
    ) -> list[Code]:
        """Edit each image, sent as PNG."""

        def request(text: str, image: bytes, seed: int) -> Callable[[], dict[str, Any]]:
            fields = self._fields(text, seed)
            file = ("image.png", image, "image/png")
            return lambda: self._endpoint.send(
                lambda client: client.images.with_streaming_response.edit(image=file, **fields)
            )

        requests = []
        for text, image, seed in zip(instructions, images, seeds, strict=True):
            file = png(Image.fromarray(image)).payload
            digest = self._digest("edit", text, hashlib.sha256(file).hexdigest(), seed)
            requests.append((digest, request(text, file, seed)))
        return self._drawn(requests)

    def _fields(self, prompt: str, seed: int) -> dict[str, Any]:
        more = {**self.body, **({"seed": seed} if self.seeds else {})}
        return {
            "model": self._endpoint.place.model,
            "prompt": prompt,
            "n": 1,
            "response_format": "b64_json",
            **self._sized,
            "extra_body": more,
        }

    def _drawn(self, requests: Sequence[tuple[str, Callable[[], dict[str, Any]]]]) -> list[Code]:
        codes = []
        for found in self._endpoint.ask(requests):
            if isinstance(found, str):
                raise SampleFailure(Status.MODEL_ERROR, f"no picture ({found})")
            if "refusal" in found:
                raise SampleFailure(Status.MODEL_ERROR, f"refused: {found['refusal']}")
            content = base64.b64decode(found["answer"]["data"][0]["b64_json"])
            try:
                with Image.open(io.BytesIO(content), formats=RASTER_FORMATS) as image:
                    codes.append(png(image.convert("RGB")))
            except OSError as error:
                raise SampleFailure(
                    Status.MODEL_ERROR, f"the endpoint's picture cannot be read ({error})"
                ) from error
        return codes


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
