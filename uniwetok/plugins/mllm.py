"""The multimodal model as the harness sees it: it generates, edits and answers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from harness.interfaces import Argument, Code, Question
from harness.interfaces.errors import SampleFailure
from harness.interfaces.extras import need
from harness.interfaces.types import ModelCard, Status
from uniwetok.plugins.tokenizer import DecoderPlugin, DType, label, model_card, packed, user_errors

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from uniwetok.mllm import Assistant


Scale = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Steps = Annotated[int, Field(ge=1, le=100_000), "Noisy diffusion steps for each step of an image."]
Side = Annotated[
    int,
    Field(ge=1, le=65_536),
    "Of the images, in pixels; a multiple of 32, 64 or 128 by the model.",
]


@dataclass(eq=False)
class _Multimodal(DecoderPlugin):
    """What the plug-ins of a multimodal model share: its folder, precision and identity."""

    folder: Annotated[
        Path,
        Argument,
        "A multimodal model, as training writes it or of the released format.",
    ]
    tokenizer: Annotated[
        Path | None,
        "Weights of the image tokenizer, where they are not in that folder.",
    ] = None
    dtype: DType = "float32"

    _name: ClassVar[str]
    _drawn_by: ClassVar[tuple[str, ...]] = ()
    """Options that decide what is drawn, part of the identity; none of a model that answers."""

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from all parts' files, their sizes, and what is asked of the model."""
        need(f"model {self._name!r}", "transformers")
        from uniwetok.mllm import checkpoint
        from uniwetok.tensors import files_of
        from uniwetok.tokenizer import checkpoint as tokenizer_files

        folder = self._files
        with user_errors(self._name):
            config, parameters = checkpoint.describe(folder)
            path = checkpoint.image_tokenizer_path(folder, self.tokenizer)
            sizes, _ = tokenizer_files.describe(path)
            files = checkpoint.parts(folder) + files_of(*tokenizer_files.locate(path))
        return model_card(
            self._name,
            label(f"{self._name}:{self._model}", {**self._options, "dtype": self.dtype}),
            {
                "model": config.to_dict(),
                "tokenizer": sizes.to_dict(),
                "dtype": self.dtype,
                **self._options,
                **self._origin,
            },
            files,
            parameters,
            sizes if self._drawn_by else None,
        )

    @property
    def _files(self) -> Path:
        """The folder itself."""
        return self.folder

    @property
    def _model(self) -> str:
        """What tables call it."""
        folder = self.folder.resolve()
        # Training writes every run's weights into a folder of this name.
        return folder.parent.name if folder.name == "model" else folder.name

    @property
    def _origin(self) -> dict[str, str]:
        """What else identifies the weights."""
        return {}

    @property
    def _options(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self._drawn_by}

    @functools.cached_property
    def _assistant(self) -> Assistant:
        return load_assistant(self._name, self._files, self.tokenizer, self.dtype)

    def load(self, device: str) -> None:
        """Move the networks to the device."""
        self._assistant.to(device)
        self._network = self._assistant.images.record()

    def _coded(self, drawn: Sequence[Tensor]) -> list[Code]:
        """Pack codes (bits, rows, columns) of any sizes."""
        step = self._assistant.images.config.downsample
        return [packed(each[None], each.shape[1] * step, each.shape[2] * step)[0] for each in drawn]


class _Drawing(_Multimodal):
    """What the two that draw share: a solver that is kept, and with it what is recorded."""

    steps: int

    def load(self, device: str) -> None:
        """Move the networks to the device."""
        from uniwetok.ar.solver import solver_of

        super().load(device)
        self._solver = solver_of(self._assistant.model.vision_head.net, self.steps)


@dataclass(eq=False)
class UniWeTokGen(_Drawing):
    """Draws prompts with a multimodal model."""

    cfg: Annotated[Scale, "Weight of guidance by the prompt; 1 is none."] = 7.5
    steps: Steps = 50
    height: Side = 1024
    width: Side = 1024

    _name, _drawn_by = "uniwetok-gen", ("cfg", "steps", "height", "width")

    def __post_init__(self) -> None:
        from uniwetok.mllm import checkpoint

        with user_errors(f"model {self._name!r}"):
            config = checkpoint.read_config(self.folder)
        from uniwetok.mllm import pictures

        with user_errors(self._name):
            pictures.check_size(self.height, self.width, config)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each prompt, from its own seed."""
        from uniwetok.mllm import Drawing

        drawing = Drawing(height=self.height, width=self.width, cfg=self.cfg, steps=self.steps)
        with _sample_failures():
            return self._coded(self._assistant.draw(prompts, seeds, drawing, solver=self._solver))


@dataclass(eq=False)
class UniWeTokEdit(_Drawing):
    """Edits images with a multimodal model.

    An edited image has the size of its source, made to fit the model.
    """

    cfg: Annotated[Scale, "Weight of guidance by the instruction; 1 is none."] = 7.5
    image_cfg: Annotated[Scale, "Weight of guidance by the source image; 1 is none."] = 1.0
    steps: Steps = 50

    _name, _drawn_by = "uniwetok-edit", ("cfg", "image_cfg", "steps")

    def edit(
        self, instructions: Sequence[str], images: Sequence[np.ndarray], seeds: Sequence[int]
    ) -> list[Code]:
        """Edit each image, uint8 (H, W, 3) of any size, from its own seed."""
        from uniwetok.mllm import Drawing

        drawing = Drawing(cfg=self.cfg, image_cfg=self.image_cfg, steps=self.steps)
        sources = [[image] for image in images]
        with _sample_failures():
            drawn = self._assistant.draw(
                instructions, seeds, drawing, images=sources, solver=self._solver
            )
            return self._coded(drawn)


class UniWeTokChat(_Multimodal):
    """Answers questions about images with a multimodal model."""

    _name = "uniwetok-chat"

    def reply(
        self, questions: Sequence[Question], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[str]:
        """Answer each question with the likeliest tokens, up to the first of `stop`."""
        from uniwetok.mllm import Sampling

        with _sample_failures():
            turns = [
                [self._assistant.question(question.text, question.images)] for question in questions
            ]
            replies = self._assistant.chat(
                turns, sampling=Sampling(max_new_tokens=max_new_tokens, stop=tuple(stop))
            )
        return [reply.text for reply in replies]


def load_assistant(name: str, folder: Path, tokenizer: Path | None, dtype: str) -> Assistant:
    """Load a model's folder; `name` is what the user asked for, the start of every message.

    Raises:
        UserError: A part is missing, damaged, or does not fit the others.
    """
    need(f"the model of {name}", "transformers")
    import torch
    from transformers.utils import logging

    from uniwetok.mllm import Assistant

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with user_errors(name):
        return Assistant.from_pretrained(
            folder, image_tokenizer=tokenizer, dtype=getattr(torch, dtype)
        )


@contextmanager
def _sample_failures() -> Iterator[None]:
    """Say of one sample that the model cannot take it: too long a prompt, for one."""
    from uniwetok.mllm import MLLMError

    try:
        yield
    except MLLMError as error:
        raise SampleFailure(Status.MODEL_ERROR, str(error)) from error
