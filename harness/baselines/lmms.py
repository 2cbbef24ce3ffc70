"""Any model of lmms-eval's own registry: `lmms:NAME?pretrained=…` answers questions about images.

How a model is loaded and what it puts around a question are lmms-eval's; questions, scorers and
results are those of every other model. Its models write an empty text where they break down: here
that is a failure.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from PIL import Image

from harness.baselines.hub import Source, check_parts, named, source, until, versions
from harness.interfaces import Argument, Question
from harness.interfaces.errors import SampleFailure, UnknownName, UserError, first_line, warn
from harness.interfaces.extras import library
from harness.interfaces.types import ModelCard, Status

_TASK, _SPLIT = "questions", "asked"


class LmmsModel:
    """A model of lmms-eval, in its chat form where it has one."""

    def __init__(
        self,
        name: Annotated[str, Argument, "As lmms-eval's `--model` takes it."],
        pretrained: Annotated[str | None, "A folder, or OWNER/NAME on the hub; its own."] = None,
        simple: Annotated[bool, "Take the form without chat messages."] = False,
        trust_remote_code: Annotated[bool, "Let it run code from the model's repository."] = False,
        **arguments: Annotated[str, "Any other argument of the model."],
    ) -> None:
        self.name = name
        self.pretrained = pretrained
        self.simple = simple
        self.trust_remote_code = trust_remote_code
        self.arguments = arguments

    @functools.cached_property
    def _source(self) -> Source | None:
        """Files of the weights; None where the model takes none or names its own."""
        return None if self.pretrained is None else source(self.pretrained)

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from lmms-eval's version, the model's name there, arguments and weights."""
        _check_name(self.name)
        options: dict[str, object] = {"simple": self.simple, **self.arguments}
        title = self._source.title if self._source else ""
        return ModelCard(
            name="lmms",
            label=f"lmms {self.name}{f' {title}' * bool(title)}{named(options, {'simple': False})}",
            config={
                "model": self.name,
                "options": {**options, "trust_remote_code": self.trust_remote_code},
                "libraries": versions("lmms-eval", "transformers"),
            },
            weights_sha256=self._source and self._source.digest(),
            parameters=self._source and self._source.parameters(),
            source=self.pretrained or "",
            revision=self._source.revision if self._source else "",
            licence=self._source.licence if self._source else "",
        )

    def load(self, device: str) -> None:
        """Build lmms-eval's model on the device."""
        from lmms_eval.models import get_model
        from lmms_eval.utils import handle_arg_string

        _check_name(self.name)
        if self.trust_remote_code:
            warn(f"model 'lmms:{self.name}' may run code from its repository, as asked for")
        given = {name: handle_arg_string(text) for name, text in self.arguments.items()}
        if self._source:
            given["pretrained"] = str(self._source.folder)
        if self.trust_remote_code:
            given["trust_remote_code"] = True
        with self._errors(), self._code_of_repositories():
            kind = get_model(self.name, force_simple=self.simple)
            self._model: Any = kind(**given, device=device, batch_size=1)
            check_parts(vars(self._model), f"model 'lmms:{self.name}'")

    def reply(
        self, questions: Sequence[Question], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[str]:
        """Answer each question with the likeliest tokens, up to the first of `stop`."""
        from lmms_eval.api.instance import Instance

        self._model.task_dict[_TASK] = {_SPLIT: dict(enumerate(questions))}
        requests = []
        for place, question in enumerate(questions):
            limits: dict[str, Any] = {
                "max_new_tokens": max_new_tokens, "temperature": 0, "do_sample": False,
                "top_p": None, "num_beams": 1, "until": [text for text in stop if text],
            }  # fmt: skip
            if getattr(self._model, "is_simple", True):
                form: tuple[Any, ...] = (question.text, limits, _pictures)
            else:
                form = (question.text, _messages, limits)
            arguments = (*form, place, _TASK, _SPLIT)
            requests.append(
                Instance(
                    "generate_until", arguments, 0, {"task": _TASK, "doc_id": place, "repeats": 1}
                )
            )
        with _told_errors() as told, self._code_of_repositories():
            found = self._model.generate_until(requests)
        if told:
            raise SampleFailure(Status.MODEL_ERROR, f"lmms-eval's model failed ({told[0]})")
        texts = [getattr(each, "text", each) for each in found]
        return [until(text, stop) for text in texts]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except ModuleNotFoundError as error:
            raise UserError(
                f"model 'lmms:{self.name}' needs the package {error.name}: pip install {error.name}"
            ) from error
        except Exception as error:  # Whatever a model of theirs may raise.
            raise UserError(
                f"model 'lmms:{self.name}' cannot be loaded ({first_line(error)})"
            ) from error

    @contextlib.contextmanager
    def _code_of_repositories(self) -> Iterator[None]:
        """Refuse code from repositories, which many models of lmms-eval ask transformers to run."""
        from transformers import dynamic_module_utils

        if self.trust_remote_code:
            yield
            return
        own = dynamic_module_utils.get_cached_module_file

        def refuse(*_: object, **__: object) -> str:
            raise UserError(
                f"model 'lmms:{self.name}' wants to run code from its repository: add "
                f"trust_remote_code=true if you trust {self.pretrained or 'it'}"
            )

        dynamic_module_utils.get_cached_module_file = refuse
        try:
            yield
        finally:
            dynamic_module_utils.get_cached_module_file = own


def _check_name(name: str) -> None:
    library("lmms_eval")
    from lmms_eval.models import list_available_models

    known = list_available_models(include_aliases=True)
    if name not in known:
        raise UnknownName("lmms-eval has no model", name, known)


def _pictures(question: Question) -> list[Image.Image]:
    return [Image.fromarray(image) for image in question.images]


def _messages(question: Question) -> list[Mapping[str, Any]]:
    content: list[dict[str, Any]] = [{"type": "image", "url": each} for each in _pictures(question)]
    return [{"role": "user", "content": [*content, {"type": "text", "text": question.text}]}]


@contextlib.contextmanager
def _told_errors() -> Iterator[list[str]]:
    """Collect what lmms-eval logs as errors while its models go on with empty texts."""
    from loguru import logger

    told: list[str] = []
    sink = logger.add(lambda message: told.append(str(message.record["message"])), level="ERROR")
    try:
        yield told
    finally:
        logger.remove(sink)
