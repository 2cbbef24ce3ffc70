"""Questions about pictures, put to a model behind an endpoint or to any model plug-in.

Asked softly, an answer is how likely the reply begins as it should; else it is the reply's text.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image
from pydantic import Field

from harness.interfaces import Question
from harness.interfaces.errors import SampleFailure
from harness.interfaces.protocols import Count
from harness.interfaces.registry import JUDGES
from harness.interfaces.types import Record
from harness.judges import Judge, JudgeReply, JudgeRequest, JudgeSettings

MOST_LOGPROBS = 20
"""As many first tokens as OpenAI's API and, unless told otherwise, vLLM give."""


class PluginVqa(Record):
    """Any model plug-in that replies to questions about images answers."""

    source: Literal["plugin"]
    model: str
    """As `--model` takes it."""
    question: str = Field(pattern=r"\{question\}")
    """What is asked, with '{question}' in the question's place."""
    max_new_tokens: Count


class EndpointVqa(JudgeSettings):
    """A model behind an endpoint answers."""

    source: Literal["endpoint"]
    question: str = Field(pattern=r"\{question\}")
    """What is asked, with '{question}' in the question's place."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question about one picture."""

    image: np.ndarray
    """uint8 RGB (H, W, 3)."""
    text: str
    right: tuple[str, ...] = ()
    """Beginnings of a right reply."""

    def put(self, template: str) -> str:
        """Fill a template's '{question}' with the text; other braces stay as they are."""
        return template.replace("{question}", self.text)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model made of a question."""

    text: str = ""
    """The reply, or its likeliest first token; empty where the model declined."""
    probability: float = float("nan")
    """How likely the reply begins as it should; NaN where that was not asked."""
    failure: str = ""
    """Why there is no answer at all; another run asks again."""
    reply: JudgeReply | None = None
    """Of an endpoint."""


class Answering(Protocol):
    """A model that can be asked."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What answers depend on, beside the settings."""
        ...

    @property
    def works_on(self) -> str:
        """As of an extractor."""
        ...

    def preflight(self) -> None:
        """Raise `UserError` where questions could not be answered, before any is put."""
        ...

    def ask(self, queries: Sequence[Query]) -> list[Answer]:
        """An answer to each."""
        ...


def open_answering(
    settings: PluginVqa | EndpointVqa, device: str, *, soft: bool = False
) -> Answering:
    """Find the model; it is built when it is first asked.

    Args:
        settings: Of a protocol.
        device: Where a plug-in is loaded.
        soft: Whether probabilities are asked for.

    Raises:
        UserError: There is no such model, or it cannot answer so.
        Unavailable: Its weights are missing.
    """
    if isinstance(settings, EndpointVqa):
        return _Endpoint(settings, soft)
    return _Plugin(settings, device, soft)


class _Plugin:
    def __init__(self, settings: PluginVqa, device: str, soft: bool) -> None:
        from harness.engine.models import ModelChoice, require
        from tasks.shared.networks import LazyModel, locate

        choice = ModelChoice.parse(settings.model)
        model: Any = choice.build()
        if repository := getattr(model, "repository", ""):  # A judge is not downloaded unasked.
            locate(repository, "vqa.model")
        interface = "ReplyProbabilities" if soft else "MultimodalLM"
        require(model, settings.model, (interface,), "protocol setting 'vqa.model'")
        card = choice.card(model)
        self.identity = {"model": card.digest}
        self.works_on: str = getattr(model, "works_on", "device")
        self._settings = settings
        self._soft = soft
        self._model = LazyModel(model, device, card)

    def preflight(self) -> None:
        """Its weights are there, else it had not been opened."""

    def ask(self, queries: Sequence[Query]) -> list[Answer]:
        # Those about one picture at a time: a plug-in may put all that it is given in one batch.
        pictures = groupby(queries, lambda query: id(query.image))
        return [answer for _, mine in pictures for answer in self._about_one(list(mine))]

    def _about_one(self, queries: Sequence[Query]) -> list[Answer]:
        asked = [Question(query.put(self._settings.question), (query.image,)) for query in queries]
        try:
            if self._soft:
                right = [query.right for query in queries]
                told = self._model.use(lambda model: model.first_tokens(asked, right))
                return [Answer(each.text, each.probability) for each in told]
            replies = self._model.reply(asked, max_new_tokens=self._settings.max_new_tokens)
        except SampleFailure as error:  # Of a served model: all that were asked together.
            return [Answer(failure=str(error))] * len(queries)
        return [Answer(str(reply).strip()) for reply in replies]


class _Endpoint:
    works_on = "elsewhere"

    def __init__(self, settings: EndpointVqa, soft: bool) -> None:
        self._settings = settings
        self._logprobs = MOST_LOGPROBS if soft else 0
        self._judge: Judge = JUDGES.get(settings.client)(settings)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"judge": dict(self._judge.identity)}

    def preflight(self) -> None:
        self._judge.check()
        if self._logprobs:  # Asked once and kept; raises where no probabilities come.
            self._judge.ask([JudgeRequest("Answer yes or no.", top_logprobs=self._logprobs)])

    def ask(self, queries: Sequence[Query]) -> list[Answer]:
        files = {id(query.image): query.image for query in queries}
        images = {key: self._jpeg(image) for key, image in files.items()}
        requests = [
            JudgeRequest(
                query.put(self._settings.question),
                (images[id(query.image)],),
                top_logprobs=self._logprobs,
            )
            for query in queries
        ]
        return list(map(self._answer, queries, self._judge.ask(requests)))

    def _answer(self, query: Query, reply: JudgeReply) -> Answer:
        if reply.failure:
            return Answer(failure=reply.failure)
        if reply.refusal or not self._logprobs:
            return Answer("" if reply.refusal else reply.text.strip(), reply=reply)
        first = reply.first_tokens
        if not first:
            return Answer(reply=reply)
        # A token that is not among the likeliest counts as impossible; a set's order is chance.
        right = sum(first.get(text, 0.0) for text in dict.fromkeys(query.right))
        return Answer(max(first, key=first.__getitem__), min(right, 1.0), reply=reply)

    def _jpeg(self, image: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=self._settings.jpeg_quality)
        return buffer.getvalue()
