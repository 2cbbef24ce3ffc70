"""The multimodal model as the harness sees it: it generates, edits and answers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.digests import DigestCache
from harness.interfaces import Code, Question
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import Codebook, ModelCard, Status, digest_of
from uniwetok.plugins.tokenizer import DTYPES, TokenizerPlugin, number, whole

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from uniwetok.mllm import Assistant, MLLMConfig


class _Multimodal:
    """What the plug-ins of a multimodal model share: its folder, precision and identity."""

    _name: str
    _draws: bool

    def __init__(self, argument: str | None, tokenizer: str | None, dtype: str) -> None:
        if argument is None:
            raise UserError(
                f"model {self._name!r} needs a folder with a multimodal model: "
                f"--model {self._name}:PATH"
            )
        if dtype not in DTYPES:
            raise UserError(f"{self._name}: dtype={dtype} is not one of {', '.join(DTYPES)}")
        self._folder = Path(argument)
        self._tokenizer = tokenizer
        self._dtype = dtype

    @property
    def _options(self) -> dict[str, Any]:
        """What is asked of the model beside its precision; part of its identity."""
        return {}

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from all parts' files, their sizes, and what is asked of the model."""
        from uniwetok.mllm import checkpoint
        from uniwetok.mllm.assistant import image_tokenizer_path
        from uniwetok.tokenizer import checkpoint as tokenizer_files

        assistant = self._assistant
        path = image_tokenizer_path(self._folder, self._tokenizer)
        files = [*checkpoint.parts(self._folder), *tokenizer_files.locate(path)]
        cache = DigestCache()
        sizes = assistant.images.config
        codebook = Codebook(groups=sizes.groups, bits_per_group=sizes.bits_per_group)
        return ModelCard(
            name=self._name,
            label=self._label,
            config={
                "model": assistant.model.config.to_dict(),
                "tokenizer": sizes.to_dict(),
                "dtype": self._dtype,
                **self._options,
            },
            weights_sha256=digest_of([cache.of_file(file) for file in files if file is not None]),
            parameters=sum(weight.numel() for weight in assistant.model.parameters()),
            codebook=codebook if self._draws else None,
        )

    @property
    def _label(self) -> str:
        path = self._folder.resolve()
        # Training writes every run's weights into a folder of this name.
        name = path.parent.name if path.name == "model" else path.name
        given = {key: value for key, value in self._options.items() if value is not None}
        options = [
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in given.items()
        ]
        options += [f"dtype={self._dtype}"] if self._dtype != DTYPES[0] else []
        return f"{self._name}:{name}" + ("?" + "&".join(options) if options else "")

    @functools.cached_property
    def _config(self) -> MLLMConfig:
        from uniwetok.mllm import checkpoint
        from uniwetok.tokenizer import CheckpointError

        try:
            return checkpoint.read_config(self._folder)
        except CheckpointError as error:
            raise UserError(f"model {self._name!r}: {error}") from error

    @functools.cached_property
    def _assistant(self) -> Assistant:
        return load_assistant(self._name, self._folder, self._tokenizer, self._dtype)

    def load(self, device: str) -> None:
        """Move the networks to the device."""
        self._assistant.to(device)
        self._decoder = TokenizerPlugin(self._assistant.images)

    def _coded(self, drawn: Sequence[Tensor]) -> list[Code]:
        """Pack codes (bits, rows, columns) of any sizes."""
        network = self._assistant.images
        step = network.config.downsample
        return [
            Code(network.pack(each[None])[0], each.shape[1] * step, each.shape[2] * step)
            for each in drawn
        ]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode to float32 (B, 3, H, W); the decoder's noise comes from the seeds."""
        return self._decoder.decode(codes, seeds)


class UniWeTokGen(_Multimodal):
    """Draws prompts with a multimodal model: `uniwetok-gen:PATH[?cfg=7.5&steps=50…]`.

    Args:
        argument: Folder of the model, as training writes it or of the released format.
        tokenizer: Weights of the image tokenizer, where they are not in that folder.
        cfg: Weight of guidance by the prompt; 1 is none.
        steps: Noisy diffusion steps for each step of an image.
        height: Of the images, in pixels; a multiple of 32, 64 or 128 by the model.
        width: Likewise.
        dtype: Precision of all networks: 'float32' or 'bfloat16'.
    """

    _name, _draws = "uniwetok-gen", True

    def __init__(
        self,
        argument: str | None = None,
        tokenizer: str | None = None,
        cfg: str = "7.5",
        steps: str = "50",
        height: str = "1024",
        width: str = "1024",
        dtype: str = DTYPES[0],
    ) -> None:
        super().__init__(argument, tokenizer, dtype)
        self._cfg = number(self._name, "cfg", cfg)
        self._steps = whole(self._name, "steps", steps)
        self._size = whole(self._name, "height", height), whole(self._name, "width", width)
        check_size(self._name, self._size, self._config)

    @property
    def _options(self) -> dict[str, Any]:
        height, width = self._size
        return {"cfg": self._cfg, "steps": self._steps, "height": height, "width": width}

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each prompt, from its own seed."""
        from uniwetok.mllm import Drawing

        height, width = self._size
        drawing = Drawing(height=height, width=width, cfg=self._cfg, steps=self._steps)
        with _sample_failures():
            return self._coded(self._assistant.draw(prompts, seeds, drawing))


class UniWeTokEdit(_Multimodal):
    """Edits images with a multimodal model: `uniwetok-edit:PATH[?cfg=7.5&image_cfg=1&steps=50…]`.

    An edited image has the size of its source, made to fit the model.

    Args:
        argument: Folder of the model, as training writes it or of the released format.
        tokenizer: Weights of the image tokenizer, where they are not in that folder.
        cfg: Weight of guidance by the instruction; 1 is none.
        image_cfg: Weight of guidance by the source image; 1 is none.
        steps: Noisy diffusion steps for each step of an image.
        dtype: Precision of all networks: 'float32' or 'bfloat16'.
    """

    _name, _draws = "uniwetok-edit", True

    def __init__(
        self,
        argument: str | None = None,
        tokenizer: str | None = None,
        cfg: str = "7.5",
        image_cfg: str = "1",
        steps: str = "50",
        dtype: str = DTYPES[0],
    ) -> None:
        super().__init__(argument, tokenizer, dtype)
        self._cfg = number(self._name, "cfg", cfg)
        self._image_cfg = number(self._name, "image_cfg", image_cfg)
        self._steps = whole(self._name, "steps", steps)

    @property
    def _options(self) -> dict[str, Any]:
        return {"cfg": self._cfg, "image_cfg": self._image_cfg, "steps": self._steps}

    def edit(
        self, instructions: Sequence[str], images: Sequence[np.ndarray], seeds: Sequence[int]
    ) -> list[Code]:
        """Edit each image, uint8 (H, W, 3) of any size, from its own seed."""
        from uniwetok.mllm import Drawing

        drawing = Drawing(cfg=self._cfg, image_cfg=self._image_cfg, steps=self._steps)
        sources = [[image] for image in images]
        with _sample_failures():
            return self._coded(self._assistant.draw(instructions, seeds, drawing, images=sources))


class UniWeTokChat(_Multimodal):
    """Answers questions about images with a multimodal model: `uniwetok-chat:PATH`.

    Args:
        argument: Folder of the model, as training writes it or of the released format.
        tokenizer: Weights of the image tokenizer, where they are not in that folder.
        dtype: Precision of all networks: 'float32' or 'bfloat16'.
    """

    _name, _draws = "uniwetok-chat", False

    def __init__(
        self,
        argument: str | None = None,
        tokenizer: str | None = None,
        dtype: str = DTYPES[0],
    ) -> None:
        super().__init__(argument, tokenizer, dtype)

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


def load_assistant(name: str, folder: Path, tokenizer: str | None, dtype: str) -> Assistant:
    """Load a model's folder; `name` is what the user asked for, the start of every message.

    Raises:
        UserError: A part is missing, damaged, or does not fit the others.
    """
    import torch
    from transformers.utils import logging

    from uniwetok.mllm import Assistant, MLLMError
    from uniwetok.tokenizer import CheckpointError

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return Assistant.from_pretrained(
            folder, image_tokenizer=tokenizer, dtype=getattr(torch, dtype)
        )
    except (CheckpointError, MLLMError) as error:
        raise UserError(f"{name}: {error}") from error


def check_size(name: str, size: tuple[int, int], config: MLLMConfig) -> None:
    """Refuse a height and width that a model does not take."""
    from uniwetok.mllm import MLLMError, pictures

    try:
        pictures.check_size(*size, config)
    except MLLMError as error:
        raise UserError(f"{name}: {error}") from error


@contextmanager
def _sample_failures() -> Iterator[None]:
    """Say of one sample that the model cannot take it: too long a prompt, for one."""
    from uniwetok.mllm import MLLMError

    try:
        yield
    except MLLMError as error:
        raise SampleFailure(Status.MODEL_ERROR, str(error)) from error
