"""A multimodal model with its two tokenizers: everything needed to chat, draw and edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uniwetok.ar.solver import AnySolver
from uniwetok.files import write_json
from uniwetok.mllm import checkpoint, pictures
from uniwetok.mllm.chat import Replies, Reply, Sampling
from uniwetok.mllm.config import MLLMError
from uniwetok.mllm.drawing import Drawing, OnStep, draw
from uniwetok.mllm.layout import SequenceBuilder
from uniwetok.mllm.model import MLLM
from uniwetok.mllm.segments import Turn
from uniwetok.publishing import Published
from uniwetok.tensors import write_tensors
from uniwetok.tokenizer import UniWeTok, checkpoint as files


@dataclass(eq=False)
class Assistant(Published):
    """Chats, generates and edits; ``builder`` lays out sequences in the text tokenizer's tokens.

    Raises:
        MLLMError: the tokenizers do not fit the model.
    """

    model: MLLM
    """In evaluation mode, but where it is trained."""
    text: PreTrainedTokenizerBase
    """The text tokenizer, with all special tokens."""
    images: UniWeTok
    """The image tokenizer, with the model's bits a token."""

    def __post_init__(self) -> None:
        config, sizes = self.model.config, self.images.config
        ours, theirs = ((each.latent_channels, each.downsample) for each in (config, sizes))
        if ours != theirs:
            raise MLLMError(
                f"the model draws tokens of {ours[0]} bits and {ours[1]} pixels a side, the image "
                f"tokenizer's are of {theirs[0]} and {theirs[1]}: give the one the model was "
                f"trained with"
            )
        rows = self.model.table.num_embeddings
        if rows < len(self.text):
            raise MLLMError(
                f"the language model knows {rows} tokens, the text tokenizer {len(self.text)}: "
                f"they are not of one model"
            )
        self.builder = SequenceBuilder(self.text, config)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        image_tokenizer: str | Path | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load a folder from ``save_pretrained`` or of the released format, without running code.

        Args:
            folder: a Hugging Face causal language model with ``vision_head.safetensors``,
                ``projector.safetensors`` and, for the images, ``ae.safetensors``.
            image_tokenizer: weights of the image tokenizer, where they are elsewhere.
            dtype: precision of all networks.

        Returns:
            On the CPU, in evaluation mode.

        Raises:
            CheckpointError: a part is missing, damaged, or does not fit the others.
            MLLMError: the tokenizers do not fit the model.
        """
        folder = Path(folder)
        model = MLLM.from_pretrained(folder, dtype=dtype)
        text = checkpoint.load_text_tokenizer(folder)
        path = checkpoint.image_tokenizer_path(folder, image_tokenizer)
        return cls(model, text, UniWeTok.from_checkpoint(path).to(dtype=dtype))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write all parts into one folder, as ``from_pretrained`` reads them."""
        folder = Path(folder)
        self.model.save_pretrained(folder)
        self.text.save_pretrained(folder)
        write_tensors(folder / files.RELEASED_WEIGHTS_FILE, self.images.state_dict())
        write_json(folder / files.RELEASED_CONFIG_FILE, self.images.config.to_dict())

    def to(self, device: torch.device | str) -> Self:
        """Move the networks to a device."""
        self.model.to(device)
        self.images.to(device)
        return self

    def draw(
        self,
        texts: Sequence[str],
        seeds: Sequence[int],
        drawing: Drawing,
        *,
        images: Sequence[Sequence[np.ndarray]] | None = None,
        solver: AnySolver | None = None,
        on_step: OnStep | None = None,
    ) -> list[Tensor]:
        """Draw one image for each text, as codes; see ``drawing.draw``.

        Args:
            texts: captions; instructions where there are images.
            seeds: one a text.
            drawing: size, guidance and steps.
            images: uint8 (H, W, 3) of any sizes: those that each instruction changes, at least one.
            solver: where one is kept.
            on_step: called with the tokens drawn and their number.

        Raises:
            MLLMError: an instruction has no image, or as ``drawing.draw``.
        """
        sources: list[list[Tensor]] = [[] for _ in texts]
        if images is not None:
            for text, own in zip(texts, images, strict=True):
                if not own:
                    raise MLLMError(f"no image to edit for {text!r}: give at least one")
            sources = [self.encode(own) for own in images]
        return draw(
            *(self.model, self.builder, texts, sources, seeds, drawing),
            solver=solver,
            on_step=on_step,
        )

    def generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        drawing: Drawing,
        *,
        on_step: OnStep | None = None,
    ) -> list[np.ndarray]:
        """Draw one picture of each prompt, uint8 (height, width, 3); see ``draw``."""
        codes = self.draw(prompts, seeds, drawing, on_step=on_step)
        return pictures.decode(codes, self.images, seeds)

    def edit(
        self,
        instructions: Sequence[str],
        images: Sequence[Sequence[np.ndarray]],
        seeds: Sequence[int],
        drawing: Drawing,
        *,
        on_step: OnStep | None = None,
    ) -> list[np.ndarray]:
        """Draw one edited picture for each instruction and its images; see ``draw``."""
        codes = self.draw(instructions, seeds, drawing, images=images, on_step=on_step)
        return pictures.decode(codes, self.images, seeds)

    def question(self, text: str, images: Sequence[np.ndarray] = ()) -> Turn:
        """Make a user's turn of images, uint8 (H, W, 3) of any sizes, and a text after them."""
        return Turn("user", [*self.encode(images), text])

    def encode(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Encode pictures, uint8 (H, W, 3) of any sizes; see ``pictures.encode``."""
        return pictures.encode(images, self.images, self.model.config)

    def stream(
        self,
        conversations: Sequence[Sequence[Turn]],
        *,
        seeds: Sequence[int] | None = None,
        sampling: Sampling | None = None,
    ) -> Replies:
        """Reply to conversations piece by piece; see ``Replies``. Greedy unless said otherwise."""
        seeds = [0] * len(conversations) if seeds is None else seeds
        return Replies(self.model, self.builder, conversations, seeds, sampling or Sampling())

    def chat(
        self,
        conversations: Sequence[Sequence[Turn]],
        *,
        seeds: Sequence[int] | None = None,
        sampling: Sampling | None = None,
    ) -> list[Reply]:
        """Reply to conversations; see ``Replies``. Greedy unless said otherwise."""
        replies = self.stream(conversations, seeds=seeds, sampling=sampling)
        for _ in replies:
            pass
        return replies.replies
