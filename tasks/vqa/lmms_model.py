"""Models of ours as lmms-eval sees them: `--model uniwetok_chat --model_args pretrained=PATH`.

Only lmms-eval imports this file. `uwt` takes any plug-in that answers questions, by the text that
`uwt-eval run --model` takes; `uniwetok_chat` takes a checkpoint and the plug-in's options.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms

from harness.engine.models import ModelChoice, require
from harness.interfaces.errors import UserError
from harness.interfaces.registry import load_plugin
from harness.interfaces.types import Status
from tasks.shared.networks import LazyModel
from tasks.vqa.asking import Answering, Asked, Asker
from tasks.vqa.pictures import picture_of
from tasks.vqa.replies import Answered
from uwt_images.listing import IMAGE_SUFFIXES, suffix_of

MAX_NEW_TOKENS = 128
"""Where a task file sets none."""
REPLY_LIMIT = 4096
"""Characters at which a longer reply is cut."""
_log = logging.getLogger(__name__)


class HarnessModel(lmms):  # type: ignore[misc]
    """A `MultimodalLM` plug-in behind lmms-eval's interface of a simple model.

    Args:
        model: As `--model` takes it: NAME[:ARGUMENT][?key=value&…].
        plugin: A file that registers the model, as `--plugin`; or nothing.
        device: auto, cpu, cuda, cuda:N or mps; lmms-eval's own choice where it gives one.
        batch_size: Most questions that are asked together.
        asker: What answers already, instead of all of these.
        max_new_tokens: Longest reply, where a task file sets none.
    """

    is_simple = True
    draws = False
    """Whether replies name pictures; how a text is to be decoded then says nothing."""

    def __init__(
        self,
        model: str = "",
        plugin: str | None = None,
        device: str | None = None,
        batch_size: int | str | None = 1,
        asker: Answering | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        **others: Any,
    ) -> None:
        super().__init__()
        if unknown := sorted(others.keys() - {"max_batch_size"}):
            raise UserError(f"--model_args: unknown {', '.join(unknown)}")
        if asker is None:
            if not model:
                raise UserError("--model_args: say which model, as model=NAME:PATH")
            if plugin is not None:
                load_plugin(Path(plugin))
            choice = ModelChoice.parse(model)
            plugin_model: Any = choice.build()
            require(plugin_model, choice.name, ("MultimodalLM",), "lmms-eval")
            asker = Asker(
                LazyModel(plugin_model, _device(device), choice.card(plugin_model)),
                batch_size=int(batch_size) if batch_size and str(batch_size).isdigit() else 1,
                reply_limit=REPLY_LIMIT,
            )
        self._asker = asker
        self._max_new_tokens = max_new_tokens
        self.on_done: Callable[[int], None] = lambda _: None
        self.answered: Sequence[Answered] = ()
        """What came of each question of the last call."""

    @property
    def device(self) -> Any:
        """Where lmms-eval counts the questions of all its processes: nccl reads GPUs alone."""
        import torch
        from torch import distributed

        nccl = distributed.is_initialized() and distributed.get_backend() == "nccl"
        return torch.device("cuda" if nccl else "cpu")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answer every request; one without a reply gives an empty text and a warning."""
        self.answered = answers = self._answers([self._asked(request) for request in requests])
        failed = [answer for answer in answers if answer.status is not Status.OK]
        if failed:
            _log.warning(
                "%d of %d questions have no reply and are scored as an empty one: %s",
                len(failed),
                len(answers),
                failed[0].error,
            )
        return [answer.reply for answer in answers]

    def _answers(self, questions: Sequence[Asked]) -> Sequence[Answered]:
        """What comes of each question, in order."""
        answers = self._asker.ask(questions, self.on_done)
        return [answers[place] for place in range(len(questions))]

    def _asked(self, request: Instance) -> Asked:
        text, arguments, to_visual, place, task, split = request.args
        if not self.draws and (
            arguments.get("do_sample") or (arguments.get("temperature") or 0) > 0
        ):
            raise UserError(f"task {task!r} samples, and this model replies greedily only")
        stop = arguments.get("until") or ()

        def load() -> Sequence[np.ndarray]:
            visuals = to_visual(self.task_dict[task][split][place]) if to_visual else None
            return [np.asarray(_picture(each, task).convert("RGB")) for each in visuals or []]

        return Asked(
            text=text,
            load=load,
            max_new_tokens=int(arguments.get("max_new_tokens") or self._max_new_tokens),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
        )

    def clean(self) -> None:
        """Keep the model: the next suite asks it too."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not offered: the interface of our models is text."""
        raise UserError(f"{len(requests)} requests ask for likelihoods; this model gives replies")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not offered: one question, one reply."""
        raise UserError(f"{len(requests)} requests take turns; this model answers one question")


class UniWeTokChat(HarnessModel):
    """The chat model of a checkpoint; other arguments are options of its plug-in.

    Args:
        pretrained: The checkpoint.
        device: As for `HarnessModel`.
        batch_size: As for `HarnessModel`.
    """

    def __init__(
        self,
        pretrained: str = "",
        device: str | None = None,
        batch_size: int | str | None = 1,
        max_batch_size: int | None = None,
        **options: Any,
    ) -> None:
        del max_batch_size
        if not pretrained:
            raise UserError("--model_args: say which checkpoint, as pretrained=PATH")
        query = f"?{urlencode(options)}" if options else ""
        super().__init__(f"uniwetok-chat:{pretrained}{query}", None, device, batch_size)


def _picture(visual: Any, task: str) -> Any:
    """A picture of Pillow's; raise `UserError` for a sound or a video."""
    if isinstance(visual, str) and suffix_of(visual) in IMAGE_SUFFIXES:
        return picture_of(Path(visual))
    if isinstance(visual, str | Mapping):
        shown = visual if isinstance(visual, str) else "what is no picture"
        raise UserError(f"task {task!r} shows {shown}, and models here are shown pictures alone")
    return visual


def _device(name: str | None) -> str:
    from harness.engine.world import World, resolve_device

    return resolve_device(name or "auto", World.from_environment())
