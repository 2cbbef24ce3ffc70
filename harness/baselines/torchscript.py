"""A tokenizer as two TorchScript files, as Cosmos ships: `torchscript:encoder.jit,decoder.jit`."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import Field

from harness.baselines.hub import DType, named, versions
from harness.baselines.latents import LatentTokenizer
from harness.data.digests import weights_sha256
from harness.interfaces import Argument
from harness.interfaces.errors import UserError, first_line
from harness.interfaces.types import Codebook, ModelCard, digest_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class TorchScriptPair(LatentTokenizer):
    """An encoder and a decoder, compiled; what is in them is TorchScript, no Python.

    The encoder takes images in [-1, 1]; the first of what it gives is the latents, or integers
    (B, rows, columns) where the tokenizer has a codebook, whose size has to be stated.
    """

    files: Annotated[str, Argument("ENCODER,DECODER"), "Two TorchScript files."]
    codebook: Annotated[int | None, Field(ge=2), "Size of the codebook, where it has one."] = None
    dtype: Annotated[DType, "Precision of inputs, as the files were made for."] = "bfloat16"
    store: Annotated[DType | None, "Dtype of stored latents; the network's by itself."] = None

    @functools.cached_property
    def _paths(self) -> list[Path]:
        paths = [Path(text).expanduser() for text in self.files.split(",")]
        if len(paths) != 2:
            raise UserError(f"torchscript:{self.files}: give two files, ENCODER,DECODER")
        for path in paths:
            if not path.is_file():
                raise UserError(f"torchscript: there is no file {path}")
        return paths

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from both files, the options, and torch, which runs them."""
        options = {"codebook": self.codebook, "dtype": self.dtype, "store": self.store}
        folder = self._paths[0].resolve().parent.name
        return ModelCard(
            name="torchscript",
            label=f"{folder}/{self._paths[0].stem}{named(options, {'dtype': 'bfloat16'})}",
            config={"options": options, "libraries": versions("torch")},
            weights_sha256=digest_of([weights_sha256(path) for path in self._paths]),
            codebook=Codebook(size=self.codebook) if self.codebook else None,
            dtype=self.dtype,
            source=str(self._paths[0].parent),
        )

    @property
    def _stored(self) -> str:
        return self.store or self.dtype

    def load(self, device: str) -> None:
        """Load both files, and see what the encoder makes of an image."""
        import torch

        self._device, self._precision = device, getattr(torch, self.dtype)
        modules: list[Any] = []
        for path in self._paths:
            try:
                modules.append(_loaded(path, device))
            except (RuntimeError, ValueError) as error:
                raise UserError(f"{path}: no readable TorchScript ({first_line(error)})") from error
        self._encoder, self._decoder = modules
        try:
            self._learn_factor()
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self._paths[0]}: does not encode an image of 256x256 in {self.dtype} "
                f"({first_line(error)}){self._other_precision()}"
            ) from error

    def _other_precision(self) -> str:
        """A hint at the precision of the encoder's weights, where inputs have another."""
        kinds = (str(weight.dtype) for weight in self._encoder.parameters())
        made = next((kind.removeprefix("torch.") for kind in kinds), "float32")
        if made == self.dtype or made not in get_args(DType):
            return ""
        return f"; if the files were made for {made}: ?dtype={made}"

    def _latents_of(self, images: Tensor) -> Tensor:
        found: Any = self._encoder(images.to(self._device, self._precision))
        latents: Tensor = found[0] if isinstance(found, (tuple, list)) else found
        if latents.is_floating_point() != (self.codebook is None):
            raise UserError(
                f"{self._paths[0]}: gives continuous latents; leave out codebook="
                if self.codebook
                else f"{self._paths[0]}: gives symbols of a codebook; state its size by codebook="
            )
        return latents

    def _images_of(self, latents: Tensor) -> Tensor:
        if self.codebook is None:
            found: Any = self._decoder(latents.to(self._device, self._precision))
        else:
            found = self._decoder(latents.to(self._device))
        images: Tensor = found[0] if isinstance(found, (tuple, list)) else found
        return images


def _loaded(path: Path, device: str) -> Any:
    import torch

    with warnings.catch_warnings():  # That TorchScript is going away, which users cannot change.
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
