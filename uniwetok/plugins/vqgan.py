"""VQGAN's family of tokenizers, of other projects, as the harness sees it: `vqgan:PATH|REPO`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.baselines.hub import WEIGHTS, of_diffusers
from harness.interfaces import Code
from harness.interfaces.errors import UserError
from harness.interfaces.types import IMAGE_SIDE, Codebook, ModelCard
from uniwetok.plugins.kinds import kind_errors
from uniwetok.plugins.places import InPlace, Placed, Revision
from uniwetok.plugins.relatives import Place, Precision
from uniwetok.plugins.tokenizer import Averaged, label, model_card, tell, title, user_errors

if TYPE_CHECKING:
    from torch import Tensor

    from uniwetok.vqgan import VQGANConfig

_UNSPEAKING = {"last", "model", "pytorch_model"}
"""Names of files that do not say which model they hold."""


@dataclass(eq=False)
class VQGANPlugin(Placed):
    """A tokenizer of VQGAN's family: VQGAN, SD-VQGAN, IBQ, LlamaGen, MaskGIT, VAR, Show-o.

    Which it is, the names and shapes of its weights tell. Sides that are no multiple of its factor
    are padded as IBQ's evaluation does; VAR's takes squares of 256 and 512 pixels alone.
    """

    path: Place
    dtype: Precision = "float32"
    ema: Averaged = True
    file: InPlace = None
    revision: Revision = None

    concurrent: ClassVar[bool] = True
    _name: ClassVar[str] = "vqgan"

    @functools.cached_property
    def _file(self) -> Path:
        place = self._weights
        if not place.is_dir():
            return place
        found = sorted(path for path in place.iterdir() if path.suffix in WEIGHTS)
        if len(found) == 1:
            return found[0]
        if not found and (other := of_diffusers(place)):
            raise UserError(f"model 'vqgan': {place} {other}")
        names = ", ".join(path.name for path in found) or f"none of {', '.join(WEIGHTS)}"
        raise UserError(f"model 'vqgan': {place}: name one of its files by file=…: it has {names}")

    @functools.cached_property
    def _described(self) -> tuple[VQGANConfig, int]:
        file = self._file  # Looked for before its networks are imported.
        from uniwetok.vqgan import describe

        try:
            with kind_errors(self._name, file):
                return describe(file)
        except UserError as error:
            # Show-o's configuration, of a file that is taken, names a class too.
            folder = self._file.parent
            if other := of_diffusers(folder):
                raise UserError(f"model 'vqgan': {folder} {other}") from error
            raise

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from the file's bytes, what it was told to be, and the options."""
        config, parameters = self._described
        scales = config.search == "scales"
        options = {"dtype": self.dtype, "ema": self.ema}
        card = model_card(
            self._name,
            label(self._title, options),
            {**asdict(config), **options, **self._origin},
            [self._file],
            parameters,
            None,
        )
        facts = {
            "codebook": Codebook(size=config.size),
            "tokens": 680 if scales else (IMAGE_SIDE // config.downsample) ** 2,
            "sizes": (256, 512) if scales else (),
        }
        return card.model_copy(update=facts)

    @property
    def _title(self) -> str:
        weights = self._file.absolute()
        if weights.stem not in _UNSPEAKING:
            return title(self._name, weights)
        if self._origin:
            return f"{self._name}:{self.path.name}"
        folder = weights.parent
        return f"{self._name}:{(folder.parent if folder.name == 'checkpoints' else folder).name}"

    @property
    def loaded(self) -> str:
        """Which of the file's weights were taken, once they are."""
        return str(self._network.report)

    def load(self, device: str) -> None:
        """Build the network and move it to the device."""
        import torch

        from uniwetok.vqgan import load

        with user_errors("model 'vqgan'"):
            network = load(self._file, ema=self.ema)
        tell(self.card.title, network.report)
        self._network = network.to(device, getattr(torch, self.dtype))

    def encode(self, images: Tensor) -> list[Code]:
        """Encode float32 images (B, 3, H, W) in [-1, 1]; symbols in raster order, or by scale."""
        from uniwetok.tokenizer.inputs import pad

        codebook = self.card.codebook
        assert codebook is not None
        height, width = images.shape[-2:]
        codes = self._network.encode(pad(images, self._network.config.downsample))
        rows = codes.reshape(len(codes), -1, 1).cpu().numpy()
        return [Code.of_symbols(row, codebook, height, width) for row in rows]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode codes of one size to float32 (B, 3, H, W); nothing is drawn."""
        import numpy as np
        import torch

        from uniwetok.tokenizer.inputs import crop

        del seeds
        codebook, network = self.card.codebook, self._network
        assert codebook is not None
        height, width = codes[0].height, codes[0].width
        factor = network.config.downsample
        grid = network.grid(height + -height % factor, width + -width % factor)
        symbols = np.stack([codebook.unpack(code.payload) for code in codes])
        images = network.decode(torch.from_numpy(symbols).reshape(len(codes), *grid))
        return crop(images.float(), (height, width), factor)
