"""Models as structural types: what a plug-in offers, checked by the methods it has.

Tensors are torch tensors; torch is imported for type checking only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.interfaces.types import Codebook, ModelCard

_EVERY_BYTE = float("nan")
"""Bits that were not stated: this object itself, which a NaN that someone computed is not."""


@dataclass(frozen=True, slots=True)
class Code:
    """One encoded image: what would be stored or sent, its rate, and the size it decodes to.

    An output that decodes to no image, as text or an embedding, has height and width 0.

    Raises:
        ValueError: The bits are no rate of this payload.
    """

    payload: bytes
    height: int
    width: int
    bits: float = _EVERY_BYTE
    """Rate: unless stated every byte of the payload counts, headers included. Indices are stored in
    whole bytes, so a tokenizer states their bits: tokens x log2(codebook size)."""

    def __post_init__(self) -> None:
        stored = 8 * len(self.payload)
        if self.bits is _EVERY_BYTE:
            object.__setattr__(self, "bits", float(stored))
        elif not (0 < self.bits <= stored or self.bits == stored):
            rates = f"more than 0 and at most {stored}" if stored else "0"
            raise ValueError(
                f"bits={self.bits} is no rate of a payload of {stored} bits: give {rates}, or none "
                "where every byte counts"
            )

    @classmethod
    def of_symbols(cls, symbols: np.ndarray, codebook: Codebook, height: int, width: int) -> Self:
        """Pack integers (tokens, groups) in [0, size) at the codebook's own rate.

        Raises:
            ValueError: Another shape or dtype, a symbol out of range, or no codebook.
        """
        from harness.interfaces.types import Codebook

        if not isinstance(codebook, Codebook):
            kind = type(codebook).__name__
            raise ValueError(f"codebook is {kind}: give a Codebook, as Codebook(size=1024)")
        return cls(codebook.pack(symbols), height, width, codebook.bits(len(symbols)))

    @classmethod
    def of_file(cls, name: bytes, height: int, width: int, bits: float = math.nan) -> Self:
        """An image made elsewhere, by its name in place of its code; NaN where no rate is known."""
        code = cls(name, height, width)
        object.__setattr__(code, "bits", bits)
        return code


@dataclass(frozen=True)
class Argument:
    """Marks the parameter of a constructor that stands after the colon of `--model`.

    `path: Annotated[Path, Argument, "What it is."]`; all other parameters are options. How it is
    written, where its name does not say so, stands in parentheses: `Argument("MODEL@URL")`.
    """

    form: str


class Model(Protocol):
    """Any model plug-in. Constructing one is cheap; `load` brings the weights in.

    What follows its name in `--model NAME:ARGUMENT?key=value` are its constructor's parameters, of
    the types that are annotated: anything that pydantic makes of a text.

    One that picks among several weights in a file offers `loaded`, a text that says which it took
    and what it left, for the result's provenance.

    One that a task's first protocol does not fit offers `protocols`: a mapping from the task's name
    to the protocol that is taken where none is asked for.

    `best_batch` is the number of samples that it takes at a time on a GPU unless `--batch-size` is
    given; where memory ends, half as many are tried. One that has `works_on = "cpu"` computes on
    the processor although there is a GPU. One that has `works_on = "elsewhere"` is asked so many at
    a time wherever it is called from.

    `image_device` is where an encoder wants its images: without one they are in the processor's
    memory, as float32; with a GPU's name they come there as bytes and are made floats there.

    It is called by one thread at a time. Where it has `concurrent = True` it is called by several,
    unless it works on a GPU, which has one owner.
    """

    @property
    def card(self) -> ModelCard:
        """Identity, known before `load`, so that finished work is found without loading."""
        ...

    def load(self, device: str) -> None:
        """Make the model ready on `device` ('cpu', 'cuda', 'cuda:1', 'mps')."""
        ...


class VisualTokenizer(Model, Protocol):
    """Compresses images to codes and back. Codecs are tokenizers too."""

    def encode(self, images: Tensor) -> list[Code]:
        """Encode float32 images (B, 3, H, W) in [-1, 1] of one size to B codes."""
        ...

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode codes of one size to float32 images (B, 3, H, W), nominally in [-1, 1].

        `seeds` holds one seed an image: a stochastic decoder draws from it and from nothing else.
        """
        ...


class ClassToImage(Model, Protocol):
    """Draws images of classes, as codes that it decodes.

    Where the classes are not ImageNet's, it offers `class_names`, a tuple in order.
    """

    @property
    def classes(self) -> int:
        """How many there are; they are numbered from 0."""
        ...

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each class, from its own seed and from nothing else."""
        ...

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode as a `VisualTokenizer` does; the seeds are those that the codes were drawn by."""
        ...


class ImageEmbedder(Model, Protocol):
    """Embeds images into the space of another model's embeddings."""

    @property
    def embedding_space(self) -> str:
        """What the embeddings compare with: a teacher's name, with its weights' after a slash.

        Raise `UserError` where the model cannot embed.
        """
        ...

    def embeddings(self, images: Tensor) -> dict[str, np.ndarray]:
        """Embed float32 images (B, 3, H, W) in [-1, 1]: float32 (B, width) of any length.

        The keys are the model's heads: 'post' of the codes, 'pre' of the latents before them.
        """
        ...


class TextToImage(Model, Protocol):
    """Draws images that a text describes, as codes that it decodes.

    Size, guidance and steps are options of the plug-in, and so part of its card.
    """

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each prompt, from its own seed and from nothing else."""
        ...

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode as a `VisualTokenizer` does; the seeds are those that the codes were drawn by."""
        ...


class ImageEditor(Model, Protocol):
    """Changes images as a text asks, into codes that it decodes."""

    def edit(
        self, instructions: Sequence[str], images: Sequence[np.ndarray], seeds: Sequence[int]
    ) -> list[Code]:
        """Edit each image, uint8 RGB (H, W, 3) of any size, from its own seed alone."""
        ...

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode as a `VisualTokenizer` does; the seeds are those that the codes were drawn by."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What a user asks: images, then the text."""

    text: str
    images: Sequence[np.ndarray] = ()
    """uint8 RGB (H, W, 3) each, of any size."""


class MultimodalLM(Model, Protocol):
    """Answers questions about images in text."""

    def reply(
        self, questions: Sequence[Question], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[str]:
        """Answer each question with the likeliest tokens, up to the first of `stop`."""
        ...


class FirstToken(NamedTuple):
    """How a model would begin its reply."""

    text: str
    """The likeliest token."""
    probability: float
    """Of all tokens together that were asked about."""


class ReplyProbabilities(Model, Protocol):
    """Tells how likely its replies begin in some way."""

    def first_tokens(
        self, questions: Sequence[Question], beginnings: Sequence[Sequence[str]]
    ) -> list[FirstToken]:
        """How each reply would begin, and how likely with the first token of any of its texts."""
        ...


class ImageFiles(Model, Protocol):
    """Images made elsewhere, by their paths in a benchmark's layout, in pairs, or in order."""

    def names(self) -> Sequence[str]:
        """All images in their order: sorted paths with slashes, or numbers."""
        ...

    def classes(self) -> Sequence[int] | None:
        """Each image's class where that is stored with the images."""
        ...

    def paired(self, originals: Sequence[str]) -> Mapping[str, str]:
        """The image that was made of each original, as far as there is one.

        Raise `UserError` where an image was made of none of them, or it cannot be told of which.
        """
        ...

    def read(self, names: Sequence[str]) -> list[Code]:
        """The images of these names; raise `SampleFailure` where one is missing."""
        ...

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode files of one size."""
        ...


class Interface(NamedTuple):
    """Something that a task may ask of a model."""

    methods: tuple[str, ...]
    """A model that has all of these offers it."""
    does: str
    """What such a model does: the verb phrase that follows its name in a message."""


INTERFACES: Final = {
    "VisualTokenizer": Interface(("encode", "decode"), "encodes and decodes images"),
    "ClassToImage": Interface(("sample", "decode"), "draws images of classes"),
    "ImageEmbedder": Interface(("embeddings",), "embeds images"),
    "TextToImage": Interface(("generate", "decode"), "draws images of texts"),
    "ImageEditor": Interface(("edit", "decode"), "edits images"),
    "MultimodalLM": Interface(("reply",), "answers questions about images"),
    "ReplyProbabilities": Interface(("first_tokens",), "tells how likely its replies begin so"),
    "ImageFiles": Interface(
        ("names", "classes", "paired", "read", "decode"), "reads images made elsewhere"
    ),
}
"""The protocols above by the names that `TaskSpec.interface` gives them."""


def offers(model: object, interface: str) -> bool:
    """Whether a model, or its class, has the interface's methods; nothing is loaded or called."""
    kind = model if isinstance(model, type) else model.__class__
    methods = INTERFACES[interface].methods
    return all(callable(getattr(kind, method, None)) for method in methods)
