"""What models of classes over a tokenizer's codebook share, as the harness sees them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from harness.baselines.hub import DType
from harness.interfaces import Code
from harness.interfaces.errors import UserError
from harness.interfaces.types import Codebook, ModelCard
from uniwetok.plugins.ar import check_classes
from uniwetok.plugins.places import InPlace, Placed, Revision, weights_at
from uniwetok.plugins.relatives import Place
from uniwetok.plugins.tokenizer import label, model_card, tell, title, user_errors

if TYPE_CHECKING:
    from torch import Tensor

    from uniwetok.rivals.sampling import NextTokens, Sizes
    from uniwetok.tensors import Shapes

Scale = Annotated[
    float | None,
    Field(ge=1, allow_inf_nan=False),
    "Weight of classifier-free guidance, at its largest; 1 is none. Unless given, the one "
    "published for the model's size.",
]
Positive = Field(gt=0, allow_inf_nan=False)
FACTOR = 16
"""Pixels of a side for one token, of all released models."""
_IDLE = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
"""Values at which options do nothing, and labels leave them out."""


@dataclass(eq=False)
class CodebookModel(Placed):
    """Draws codes step by step; a subclass is one architecture."""

    path: Place
    tokenizer: Annotated[
        Path | None,
        "Weights of the tokenizer, or a repository with the released one; unless given, the "
        "released one beside the model's weights, or of the authors' repository.",
    ] = None
    cfg: Scale = None
    dtype: Annotated[DType, "Precision of the transformer; the tokenizer's is float32."] = "float32"
    file: InPlace = None
    revision: Revision = None

    concurrent: ClassVar[bool] = True
    _released: ClassVar[tuple[str, str]]
    """Repository and file of the tokenizer that the released models were trained with."""
    _options: ClassVar[tuple[str, ...]]
    """Those of sampling."""

    def _sizes_of(self, found: Shapes) -> Sizes:
        """Sizes of the network with these weights; raise `CheckpointError` if they are others."""
        raise NotImplementedError

    def _drawing(self, network: Any) -> NextTokens:
        """What draws, of the network with its weights."""
        drawing: NextTokens = network
        return drawing

    @property
    def _side(self) -> int:
        """Side of the images that are given, in pixels."""
        return self._drawn

    @property
    def _drawn(self) -> int:
        """Side of the images that codes are drawn for, in pixels."""
        return self._sizes.side * FACTOR

    @functools.cached_property
    def _sizes(self) -> Sizes:
        from uniwetok.tensors import read_shapes
        from uniwetok.weights import unwrapped

        with user_errors(f"model {self._name!r}"):
            return self._sizes_of(unwrapped(read_shapes(self._weights), self._weights))

    @functools.cached_property
    def _sampling(self) -> dict[str, float]:
        """Options of sampling: what is given, else what is published for the model's size."""
        known: dict[str, float] = {}
        for name in self._options:
            value = getattr(self, name)
            value = self._sizes.published.get(name) if value is None else value
            if value is None:
                raise UserError(
                    f"model {self._name!r}: {self._weights} is of none of the released sizes, "
                    f"whose {name} is published: say {name}=…"
                )
            known[name] = value
        return known

    @property
    def classes(self) -> int:
        """How many there are."""
        return self._sizes.classes

    @functools.cached_property
    def _tokenizer_file(self) -> Path:
        repository, file = self._released
        here = self._weights.parent if self.path.exists() else Path(repository)
        place = self.tokenizer or here
        revision = self.revision if place == self.path else None
        try:
            return weights_at(place, None if place.is_file() else file, revision)
        except UserError as error:
            raise UserError(
                f"model {self._name!r}: {error}; give the tokenizer: tokenizer=PATH"
            ) from error

    @functools.cached_property
    def _tokenizer(self) -> dict[str, Any]:
        """Sizes of the tokenizer, which are those that the codes are of."""
        codes, path = self._sizes.codes, self._tokenizer_file
        with user_errors(f"{self._name}: tokenizer={path}"):
            size, downsample, config = self._described(path)
        if (size, downsample) != (codes, FACTOR):
            raise UserError(
                f"{self._name}: the model {self._weights} draws {codes} codes of {FACTOR}x{FACTOR} "
                f"pixels, the tokenizer {path} has {size} of {downsample}x{downsample}: give the "
                f"one it was trained with"
            )
        return config

    def _described(self, path: Path) -> tuple[int, int, dict[str, Any]]:
        """A tokenizer's codes, pixels of a side for one of them, and all its sizes."""
        from uniwetok.vqgan import describe

        config, _ = describe(path)
        return config.size, config.downsample, asdict(config)

    def _decoder_of(self, path: Path) -> Any:
        """Load a tokenizer; raise `CheckpointError` where it is none."""
        from uniwetok.vqgan import load

        return load(path)

    def _codes_of(self, drawn: Tensor) -> Tensor:
        """Codes (batch, codes of an image) of the tokens that were drawn, (batch, tokens)."""
        return drawn

    def _images_of(self, codes: Tensor) -> Tensor:
        """Decode codes (batch, codes of an image)."""
        grid = self._decoder.grid(self._drawn, self._drawn)
        images: Tensor = self._decoder.decode(codes.reshape(len(codes), *grid))
        return images

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from both networks' files, their sizes, and how is sampled."""
        tokenizer = self._tokenizer
        shown = {name: value for name, value in self._sampling.items() if value != _IDLE.get(name)}
        config = {
            "model": asdict(self._sizes),  # type: ignore[call-overload]  # A dataclass.
            "tokenizer": tokenizer,
            **self._sampling,
            "side": self._side,
            "dtype": self.dtype,
            **self._origin,
        }
        return model_card(
            self._name,
            label(title(self._name, self._weights), {**shown, "dtype": self.dtype}),
            config,
            [self._weights, self._tokenizer_file],
            sum(weight.numel() for weight in self._empty().parameters()),
            None,
        ).model_copy(
            update={
                "codebook": self._codebook,
                "tokens": self._sizes.tokens,
                "sizes": (self._side,),
            }
        )

    @property
    def _codebook(self) -> Codebook:
        return Codebook(size=self._sizes.codes)

    def _empty(self) -> Any:
        """The network without weights."""
        import torch

        with torch.device("meta"):
            return self._sizes.build()

    @property
    def loaded(self) -> str:
        """Which weights were taken of both networks' files, once they are."""
        return f"{self._report}; {self._decoder.report}"

    def load(self, device: str) -> None:
        """Build both networks on the device.

        Raises:
            UserError: weights are damaged, or do not fit one another.
        """
        import torch

        from uniwetok.tensors import CheckpointError, shapes
        from uniwetok.weights import Weights, listing

        with user_errors(f"{self._name}: tokenizer={self._tokenizer_file}"):
            self._decoder = self._decoder_of(self._tokenizer_file).to(device)
        network = self._empty()
        with user_errors(f"model {self._name!r}"):
            weights = Weights(self._weights)
            if unfit := weights.faults(shapes(network.state_dict()), ema=False):
                raise CheckpointError(f"{self._weights}: {listing(unfit)}")
            self._report = weights.give(network, "inferred", "", ema=False)
        tell(self.card.title, self._report)
        self._device = device
        self._network = self._drawing(network.eval().to(device, getattr(torch, self.dtype)))

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each class.

        Raises:
            UserError: a class is none of the model's.
        """
        import torch

        from uniwetok.randomness import stream
        from uniwetok.rivals.sampling import sample

        check_classes(classes, self.classes, self.card.title)
        drawn = sample(
            self._network,
            torch.tensor(list(classes), device=self._device),
            [stream(seed, "tokens") for seed in seeds],
            self._sizes.steps(**self._sampling),
        )
        rows, side = self._codes_of(drawn).unsqueeze(2).cpu().numpy(), self._side
        return [Code.of_symbols(row, self._codebook, side, side) for row in rows]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode to float32 (B, 3, H, W), resized as the authors' evaluation does."""
        import numpy as np
        import torch
        from torch.nn.functional import interpolate

        del seeds
        symbols = np.stack([self._codebook.unpack(code.payload) for code in codes])
        images = self._images_of(torch.from_numpy(symbols).squeeze(2)).float()
        if self._drawn == self._side:
            return images
        return interpolate(images, size=(self._side, self._side), mode="bicubic")
